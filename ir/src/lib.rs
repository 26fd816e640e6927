//! The IRs of fhec: nn, slot and ckks graphs, their text form, verifier and interpreters.
