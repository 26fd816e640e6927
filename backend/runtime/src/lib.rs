//! Plans and their executors: cleartext, noise model, encrypted.
