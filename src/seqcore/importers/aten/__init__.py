"""ATen's operators on tensors of a program, the words in which programs are read.

arguments.py  what operators may ask of their program, and of their arguments
operators/    what each operator means
folding.py    operators on constants
tensors.py    dims of a framework as axes of values; sizes.py sizes that vary
reader.py     reading a program: which axis is the batch, inputs, outputs, layers

torch's programs consist of them; those of ONNX are said in them.
"""
