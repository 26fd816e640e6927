//! Kernels over RNS polynomials: transforms, base conversion, automorphisms.
