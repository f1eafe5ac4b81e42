"""The compiled extensions and two switches. Everything static is in pyproject.toml.

``QPIDHA_DEBUG=1 python setup.py build_ext --inplace --force`` builds with assertions and line tracing,
so that coverage and profilers see into the compiled code. ``make clean`` and any target go back.

The example broker of ``qpidha demo`` is copied into the package, as text that the demonstration runs.

``QPIDHA_SANITIZE=1`` builds them with the address and undefined-behaviour sanitizers: ``make sanitize``.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

DEBUG = os.environ.get("QPIDHA_DEBUG") == "1"
SANITIZE = os.environ.get("QPIDHA_SANITIZE") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

MODULES = ("qpidha._seq", "qpidha._serial", "qpidha.wire._batch")


def extension(module: str) -> Extension:
    """How the module with this name is compiled: optimised, or for debugging or the sanitizers."""
    macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if DEBUG else []
    flags = ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3"]
    link = []
    if SANITIZE:
        flags, link = ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS], SANITIZERS
    source = module.replace(".", "/") + ".pyx"
    return Extension(module, [source], define_macros=macros, extra_compile_args=flags, extra_link_args=link)


class WithExample(build_py):
    """Adds ``examples/simple`` as ``qpidha/demo/simple``; a checkout has it where it is."""

    def run(self):
        """See setuptools."""
        super().run()
        if not self.editable_mode:
            for source in self._example():
                self.copy_file(source, str(self._goal(source)))

    def get_outputs(self, include_bytecode=True):
        """See setuptools."""
        return [
            *super().get_outputs(include_bytecode),
            *(str(self._goal(source)) for source in self._example()),
        ]

    def _example(self):
        return sorted(map(str, Path("examples/simple").glob("*.py")))

    def _goal(self, source):
        folder = Path(self.build_lib) / "qpidha" / "demo" / "simple"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / Path(source).name


setup(
    cmdclass={"build_py": WithExample},
    ext_modules=cythonize(
        [extension(module) for module in MODULES],
        force=DEBUG,  # C code without tracing may be lying there, up to date as far as anyone can see
        compiler_directives={
            "language_level": "3",
            "embedsignature": True,
            "linetrace": DEBUG,
        },
    ),
)
