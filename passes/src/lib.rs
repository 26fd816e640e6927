//! Passes over the IR levels: folding, approximation, packing, lowering, parameters.
