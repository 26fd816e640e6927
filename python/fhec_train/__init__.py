"""Trains a student of `fhec prepare`, as its recipe says, and writes ONNX that `fhec` compiles.

    from fhec_train import Data, Options, Recipe, train

    recipe = Recipe.load("recipe.json")
    train("student.onnx", recipe, teacher="model.onnx", data=Data.load("train.npz"), out="trained.onnx")

`docs/recipe.md` of fhec says what students and recipes are; README.md of this package, how training goes.
"""

from .data import Data
from .errors import TrainError
from .recipe import Recipe
from .training import Options, Result, train

__all__ = ["Data", "Options", "Recipe", "Result", "TrainError", "train"]
