"""The compiled extensions and two switches. Everything static is in pyproject.toml.

``QPIDHA_DEBUG=1 python setup.py build_ext --inplace --force`` builds with assertions and line tracing,
so that coverage and profilers see into the compiled code. ``make clean`` and any target go back.

``QPIDHA_SANITIZE=1`` builds them with the address and undefined-behaviour sanitizers: ``make sanitize``.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

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


setup(
    ext_modules=cythonize(
        [extension(module) for module in MODULES],
        force=DEBUG,  # C code without tracing may be lying there, up to date as far as anyone can see
        compiler_directives={
            "language_level": "3",
            "embedsignature": True,
            "linetrace": DEBUG,
        },
    )
)
