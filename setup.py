"""Builds the native operations with CMake; without a compiler the package is pure Python.

MODA_KERAS_BUILD_NATIVE: "auto" (default) continues without them if they cannot be built, "1" fails,
"0" does not try. MODA_KERAS_BUILD_CUDA: the same for the CUDA part; "auto" builds it where nvcc is.
MODA_KERAS_CUDA_ARCHITECTURES: CMake's list, such as "90-real;90-virtual".
"""

import os
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
PACKAGE = "moda_keras"
LIBRARIES = (".so", ".dylib", ".dll")


class CMakeBuild(build_ext):
    """Runs CMake and ninja, which install the libraries into the package's folder.

    The libraries are not Python extensions: setuptools learns their names only when they are built.
    """

    def build_extension(self, extension: Extension) -> None:
        wanted = os.environ.get("MODA_KERAS_BUILD_NATIVE", "auto")
        if wanted == "0":
            return
        try:
            self._build_libraries(self._built_folder())
        except (OSError, subprocess.CalledProcessError) as error:
            if wanted == "1":
                raise
            self.warn(
                f"the native operations could not be built ({error}); moda_keras will use its "
                "slower reference operations"
            )

    def copy_extensions_to_source(self) -> None:
        """Copies all libraries into the source tree, for an editable or in-place build."""
        for library in self._built_libraries():
            self.copy_file(str(library), str(ROOT / PACKAGE / library.name))

    def get_outputs(self) -> list[str]:
        return [str(library) for library in self._built_libraries()]

    def get_output_mapping(self) -> dict[str, str]:
        if not self.inplace:
            return {}
        libraries = self._built_libraries()
        return {str(built): str(ROOT / PACKAGE / built.name) for built in libraries}

    def _built_folder(self) -> Path:
        return Path(self.build_lib).resolve() / PACKAGE

    def _built_libraries(self) -> list[Path]:
        return sorted(p for p in self._built_folder().glob("*moda_c*") if p.suffix in LIBRARIES)

    def _build_libraries(self, destination: Path) -> None:
        cuda = os.environ.get("MODA_KERAS_BUILD_CUDA", "auto")
        try:
            self._build(destination, cuda)
        except subprocess.CalledProcessError as error:
            if cuda != "auto":
                raise
            # The CPU core is still wanted where nvcc does not support the C++ compiler.
            self.warn(f"the build failed ({error}); trying again without CUDA")
            self._build(destination, "0")

    def _build(self, destination: Path, cuda: str) -> None:
        folder = Path(self.build_temp).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": destination,
            "MODA_CUDA": cuda,
        }
        architectures = os.environ.get("MODA_KERAS_CUDA_ARCHITECTURES")
        if architectures:
            options["CMAKE_CUDA_ARCHITECTURES"] = architectures
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        configure = ["cmake", "-GNinja", "--fresh", "-S", ROOT, "-B", folder, *definitions]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", folder, "--target", "install"], check=True)


class AnyPythonWheel(bdist_wheel):
    """A wheel for every version of Python: the libraries are loaded through ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    # No such file is made. It stands for all libraries, and makes the wheel one of this platform.
    ext_modules=[Extension(f"{PACKAGE}.moda_core", sources=[], optional=True)],
    cmdclass={"build_ext": CMakeBuild, "bdist_wheel": AnyPythonWheel},
)
