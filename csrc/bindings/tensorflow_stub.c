/* Stands in for libtensorflow_framework when the operations are linked: all that the linker takes
 * from it is its name, under which the running TensorFlow has loaded the real one. */
int moda_tensorflow_stub;
