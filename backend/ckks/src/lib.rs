//! The CKKS evaluator: parameters, encoding, ciphertexts, evaluation keys, homomorphic operations.
