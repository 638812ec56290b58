"""Networks that leave anybudget: as ONNX, int8, a stand-alone file of Python, or a plain torch module."""
