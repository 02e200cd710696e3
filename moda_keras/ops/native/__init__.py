"""The native operations: building blocks in C++ and CUDA, and how frameworks call them."""
