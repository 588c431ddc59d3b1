"""What leaves the app as a file or a text: tables, standalone PyTorch source, ONNX."""
