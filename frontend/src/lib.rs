//! Reads ONNX models into the nn level.
