# What the program below is written in: the ops of a plan as calls of OpenFHE.

import json
import pathlib
import sys

import numpy
import openfhe

HERE = pathlib.Path(__file__)
CONSTANTS = numpy.fromfile(HERE.with_suffix(".f32"), "<f4").astype(numpy.float64)


class Machine:
    """One client and one server of OpenFHE, in one process."""

    def __init__(self):
        parameters = openfhe.CCParamsCKKSRNS()
        parameters.SetBatchSize(SLOTS)
        parameters.SetMultiplicativeDepth(LEVELS)
        parameters.SetScalingModSize(SCALE_BITS)
        parameters.SetFirstModSize(FIRST_BITS)
        # Rescales and level drops stand in the program.
        parameters.SetScalingTechnique(openfhe.ScalingTechnique.FIXEDMANUAL)
        parameters.SetSecretKeyDist(openfhe.SecretKeyDist.UNIFORM_TERNARY)
        parameters.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
        self.cc = openfhe.GenCryptoContext(parameters)
        for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE"):
            self.cc.Enable(getattr(openfhe.PKESchemeFeature, feature))
        self.keys = self.cc.KeyGen()
        self.cc.EvalMultKeyGen(self.keys.secretKey)
        if ROTATIONS:
            self.cc.EvalRotateKeyGen(self.keys.secretKey, ROTATIONS)

    def plain(self, values, level, degree=1):
        # OpenFHE counts levels from the top, and the powers of the scale as degree.
        return self.cc.MakeCKKSPackedPlaintext(values, degree, LEVELS - level, None, SLOTS)

    def encrypt(self, values, level):
        return self.cc.Encrypt(self.keys.publicKey, self.plain(values, level))

    def decrypt(self, x):
        values = self.cc.Decrypt(self.keys.secretKey, x)
        values.SetLength(SLOTS)
        return numpy.array(values.GetRealPackedValue())

    def add(self, a, b):
        return self.cc.EvalAdd(a, b)

    def sub(self, a, b):
        return self.cc.EvalSub(a, b)

    def neg(self, x):
        return self.cc.EvalNegate(x)

    def add_plain(self, x, start, level, degree):
        return self.cc.EvalAdd(x, self.plain(CONSTANTS[start:start + SLOTS], level, degree))

    def add_scalar(self, x, value):
        return self.cc.EvalAdd(x, value)

    def mul_plain(self, x, start, level, at):
        return self.cc.EvalMult(self.level_drop(x, level, at), self.plain(CONSTANTS[start:start + SLOTS], at))

    def mul_scalar(self, x, value, level, at):
        return self.cc.EvalMult(self.level_drop(x, level, at), value)

    def mul_int(self, x, by):
        """Doubled and added: a multiple takes no level."""
        result, power, left = None, x, abs(by)
        while left:
            if left % 2:
                result = power if result is None else self.cc.EvalAdd(result, power)
            power, left = self.cc.EvalAdd(power, power), left // 2
        return result if by > 0 else self.cc.EvalNegate(result) if result else self.cc.EvalSub(x, x)

    def mul(self, a, b):
        return self.cc.EvalMultNoRelin(a, b)

    def relinearize(self, x):
        return self.cc.Relinearize(x)

    def rescale(self, x):
        return self.cc.Rescale(x)

    def level_drop(self, x, level, to):
        return self.cc.LevelReduce(x, None, level - to) if to < level else x

    def rotate(self, x, by):
        return self.cc.EvalRotate(x, by) if by else x

    def linear(self, x, terms, level, at):
        """The sum over `terms`, triples of a giant step, a baby step and where the diagonal starts, of diagonals times
        rotations by the sum of both steps: one rotation per baby step, one per giant step."""
        x = self.level_drop(x, level, at)
        digits = self.cc.EvalFastRotationPrecompute(x)
        rotated, sums = {0: x}, {}
        for giant, baby, start in terms:
            if baby not in rotated:
                rotated[baby] = self.cc.EvalFastRotation(x, baby, digits)
            diagonal = numpy.roll(CONSTANTS[start:start + SLOTS], giant)
            term = self.cc.EvalMult(rotated[baby], self.plain(diagonal, at))
            sums[giant] = self.cc.EvalAdd(sums[giant], term) if giant in sums else term
        return self.cc.EvalAddMany([self.rotate(total, giant) for giant, total in sums.items()])


def addresses(shape, layout):
    """Where the elements of a tensor lie, in row-major order: slots of its ciphertexts one after the other."""
    index = numpy.indices(shape).reshape(len(shape), -1)
    steps = [index[d["dim"]] // d["divisor"] % d["size"] * d["stride"] for d in layout["digits"]]
    return layout["offset"] + sum(steps, numpy.zeros(index.shape[1], int))


def pack(shape, layout, tensor):
    slots = numpy.zeros(layout["ciphertexts"] * SLOTS)
    slots[addresses(shape, layout)] = numpy.asarray(tensor, float).ravel()
    period = layout["period"]
    return numpy.tile(slots.reshape(-1, SLOTS)[:, :period], (1, SLOTS // period))


def unpack(shape, layout, slots):
    return numpy.concatenate(slots)[addresses(shape, layout)].reshape(shape)


def main():
    """Reads one .npy per input of the network, images along dimension 0, and prints the results of the first run."""
    if len(sys.argv) != 1 + len(INPUTS):
        sys.exit(f"usage: {HERE.name} " + " ".join(f"{port['name'].upper()}.npy" for port in INPUTS))
    machine, ciphertexts = Machine(), []
    for port, file in zip(INPUTS, sys.argv[1:]):
        shape = port["shape"]
        images = numpy.load(file).reshape(-1, *shape[1:])[:shape[0]]
        vectors = pack(shape, port["layout"], images)
        ciphertexts += [machine.encrypt(x, level) for x, level in zip(vectors, port["levels"])]
    results = [machine.decrypt(y) for y in network(machine, *ciphertexts)]
    for port in OUTPUTS:
        spanned = port["layout"]["ciphertexts"]
        own, results = results[:spanned], results[spanned:]
        for image in unpack(port["shape"], port["layout"], own):
            print(json.dumps({"output": port["name"], "values": image.ravel().tolist()}))
