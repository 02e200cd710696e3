"""Builds the native operations with CMake; without a compiler the package is pure Python.

MODA_KERAS_BUILD_NATIVE: "auto" (default) goes on without them if they cannot be built, "1" fails,
"0" does not try. MODA_KERAS_BUILD_CUDA: the same for the CUDA part, "auto" where there is an nvcc.
MODA_KERAS_CUDA_ARCHITECTURES: CMake's list, such as "90-real;90-virtual".
"""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeExtension(Extension):
    """An extension that CMake builds. Optional: setuptools takes it as it comes."""

    def __init__(self, name: str):
        super().__init__(name, sources=[], optional=True)


class CMakeBuild(build_ext):
    """Runs CMake and ninja, which put all libraries beside the package's modules."""

    def build_extension(self, extension: CMakeExtension) -> None:
        wanted = os.environ.get("MODA_KERAS_BUILD_NATIVE", "auto")
        if wanted == "0":
            return
        try:
            self._build_libraries(Path(self.get_ext_fullpath(extension.name)).resolve().parent)
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            if wanted == "1":
                raise
            self.warn(
                f"the native operations could not be built ({error}); moda_keras will use its "
                "slower reference operations"
            )

    def _build_libraries(self, destination: Path) -> None:
        cuda = os.environ.get("MODA_KERAS_BUILD_CUDA", "auto")
        try:
            self._build(destination, cuda)
        except subprocess.CalledProcessError as error:
            if cuda != "auto":
                raise
            # An nvcc that does not go with the C++ compiler is no reason to have no CPU core.
            self.warn(f"the build failed ({error}); trying again without CUDA")
            self._build(destination, "0")

    def _build(self, destination: Path, cuda: str) -> None:
        import pybind11

        folder = Path(self.build_temp).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": destination,
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "MODA_CUDA": cuda,
        }
        architectures = os.environ.get("MODA_KERAS_CUDA_ARCHITECTURES")
        if architectures:
            options["CMAKE_CUDA_ARCHITECTURES"] = architectures
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        configure = ["cmake", "-GNinja", "--fresh", "-S", ROOT, "-B", folder, *definitions]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", folder, "--target", "install"], check=True)


setup(
    ext_modules=[CMakeExtension("moda_keras._native")],
    cmdclass={"build_ext": CMakeBuild},
)
