# %% [markdown]
# # From PyTorch to an encrypted answer
#
# A small network learns to tell four shapes apart. fhec compiles it, a client encrypts an image, a server that cannot read it
# computes the scores, and the client decrypts them. It takes about a minute on two cores. `tutorial.ipynb` and the script
# `tutorial.py` are the same.

# %% [markdown]
# ## The data: noisy images of 16 by 16 pixels
#
# Nothing is downloaded. Each image shows a bar, a column, a cross or a frame, at a random place.

# %%
import warnings

import fhec
import numpy as np
import torch

random = np.random.default_rng(0)
NAMES = ["bar", "column", "cross", "frame"]


def image(shape: int) -> np.ndarray:
    pixels = 0.2 * random.random((16, 16), dtype=np.float32)
    row, column = random.integers(2, 8, size=2)
    box = pixels[row : row + 7, column : column + 7]
    if shape in (0, 2):
        box[3] += 0.8
    if shape in (1, 2):
        box[:, 3] += 0.8
    if shape == 3:
        box[[0, -1]] += 0.8
        box[1:-1, [0, -1]] += 0.8
    return pixels.clip(0, 1)


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    classes = random.integers(len(NAMES), size=count)
    return np.stack([image(c) for c in classes])[:, None], classes


x_train, y_train = images(2048)
x_test, y_test = images(512)

# %% [markdown]
# ## The network, trained as any other
#
# Nothing in it is made for encryption: convolutions, ReLU, pooling, a dense layer.

# %%
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3, padding=1, stride=2),
    torch.nn.ReLU(),
    torch.nn.Conv2d(8, 16, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.AvgPool2d(4),
    torch.nn.Flatten(),
    torch.nn.Linear(16 * 2 * 2, len(NAMES)),
)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(12):
    order = torch.randperm(len(x_train))
    for batch in order.split(64):
        loss = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(x_train[batch])), torch.from_numpy(y_train[batch])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    trained = model(torch.from_numpy(x_test)).numpy()
print(f"trained: {np.mean(trained.argmax(axis=1) == y_test):.1%} of the test images are right")

# %% [markdown]
# ## Compile
#
# Ciphertexts can be added and multiplied, so polynomials stand for the ReLUs. They are fitted where the calibration data lies: a
# few hundred inputs of the training set. `validation` and `labels` measure what that costs, and the comparison with the model as
# trained is printed. A notebook shows a plan by its figures and its levels over time.

# %%
plan = fhec.compile(model, calibration=x_train[:512], validation=x_test, labels=y_test, compare=x_test[:64])
print(f"accuracy: {plan.accuracy['original']:.1%} as trained, {plan.accuracy['polynomial']:.1%} with polynomials")
plan  # noqa: B018

# %% [markdown]
# ## What it will cost
#
# The report is the whole page: layers, keys, memory, times.

# %%
report = plan.report()
figures = report.data["parameters"]
print(f"ring degree {figures['n']}, {figures['levels']} levels, {figures['security']['bits']}-bit security")
report  # noqa: B018

# %% [markdown]
# ## Try it in the clear
#
# The simulation gives what an encrypted run will give, noise among it, at the speed of plain arithmetic.

# %%
simulation = plan.simulate(x_test, y_test)
print(f"simulated: {simulation.right} of {simulation.images} right, largest error of a score {simulation.max_error:.1e}")

# %% [markdown]
# ## The client makes keys
#
# The secret key stays. The evaluation keys go to the server, and decrypt nothing. A client needs of the plan only what
# `plan.client_plan()` says, which holds no weight of the model.

# %%
client = fhec.Client(plan.client_plan())
evaluation_keys = client.evaluation_keys()
print(f"evaluation keys: {len(evaluation_keys) / 2**20:.0f} MiB")

# %% [markdown]
# ## The client encrypts

# %%
request = client.encrypt(x_test[:2])
print(f"request: {len(request) / 2**20:.1f} MiB for two images")

# %% [markdown]
# ## The server computes on what it cannot read
#
# What goes between the two are bytes: over HTTP, through files, as you like.

# %%
server = fhec.Server(plan, evaluation_keys)
answer = server.eval(request)
print(f"evaluated in {sum(run['seconds'] for run in server.runs):.2f} s on {server.threads} threads")

# %% [markdown]
# ## The client decrypts

# %%
scores = client.decrypt(answer)
for i, row in enumerate(scores):
    print(f"image {i}: {NAMES[row.argmax()]}, which is {NAMES[y_test[i]]}")
assert list(scores.argmax(axis=1)) == list(trained[:2].argmax(axis=1)), "the encrypted answer is the model's"

# %% [markdown]
# ## What it is not made for
#
# A polynomial knows nothing of inputs that are unlike the calibration data. These are refused before they are encrypted.

# %%
try:
    client.encrypt(255 * x_test[:1])
except fhec.InputsError as error:
    print(f"refused: {error.message}")

# Inputs that are a little outside are warned of.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    client.encrypt(1.02 * x_test[:1])
print(f"warnings: {len(caught)}")
