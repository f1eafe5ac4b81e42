"""What is compiled, and three switches. Everything static is in pyproject.toml.

Compiled are three modules that are written in Cython, and copies of the Python modules that ``qpidha/compiled.py`` lists.
mypyc makes C of those, which takes a compiler most of a minute. ``QPIDHA_PURE=1`` leaves them out: then their sources
run. ``make`` does so, for what is compiled is of no use after an edit; ``make compiled`` builds them in the checkout.

``QPIDHA_DEBUG=1 python setup.py build_ext --inplace --force`` builds with assertions and line tracing,
so that coverage and profilers see into the compiled code. ``make clean`` and any target go back.

The example broker of ``qpidha demo`` is copied into the package, as text that the demonstration runs.

``QPIDHA_SANITIZE=1`` builds them with the address and undefined-behaviour sanitizers: ``make sanitize``.
Both leave out what mypyc makes, too: it is debugged as Python.
"""

import os
import re
import runpy
import shutil
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

DEBUG = os.environ.get("QPIDHA_DEBUG") == "1"
SANITIZE = os.environ.get("QPIDHA_SANITIZE") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

PURE = DEBUG or SANITIZE or os.environ.get("QPIDHA_PURE") == "1"

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


class WithCompiled(build_ext):
    """Compiles Python modules as well, into the folder where ``qpidha/compiled.py`` looks for them."""

    def run(self):
        """See setuptools. Only here: other commands ask for the extensions, too, and need no C of them."""
        if not PURE:
            compiled = runpy.run_path("qpidha/compiled.py")
            for root in (Path(), Path(self.build_lib)):
                self._make_room(root / "qpidha" / "_compiled", compiled["digest"]())
            self.distribution.ext_modules += self._made_by_mypyc(compiled)
            self.swig_opts = None  # As it was.
            self.finalize_options()  # Once more, with all of them.
            self.parallel = self.parallel or True  # One for each processor.
        super().run()

    @staticmethod
    def _make_room(folder, digest):
        """Remove what was compiled of other sources. Modules for other Pythons may lie beside ours."""
        for old in folder.glob("*"):
            if old.name != digest:
                shutil.rmtree(old)
        (folder / digest).mkdir(parents=True, exist_ok=True)

    def _made_by_mypyc(self, compiled):
        from mypyc.build import mypycify  # Not needed for anything else.

        folder = Path(self.build_temp) / "mypyc"
        extensions = mypycify(
            [
                "--python-version={}.{}".format(*sys.version_info[:2]),
                "--follow-imports=silent",
                f"--cache-dir={folder / 'cache'}",
                *(os.path.relpath(compiled["source"](module)) for module in compiled["MODULES"]),
            ],
            opt_level="1",  # Where calls are the work, more takes a compiler twice as long and gains nothing.
            debug_level="0",
            group_name=compiled["GROUP"],
            target_dir=str(folder),
        )
        self._calm(folder / f"__native_{compiled['GROUP']}.c")
        for extension in extensions:
            # A warning of a compiler that mypyc does not know is no reason to have no library.
            extension.extra_compile_args = [a for a in extension.extra_compile_args if a != "-Werror"]
            extension.name = f"qpidha._compiled.{compiled['digest']()}.{extension.name.replace('.', '-')}"
        return extensions

    @staticmethod
    def _calm(source):
        """What runs once, at the import of a module, is not optimised: it is two thirds of the C, and of the time."""
        top_level = r"^char CPyDef_\w+_____top_level__\(void\) \{"
        made = source.read_text(encoding="utf-8")
        made, count = re.subn(
            top_level, r'__attribute__((cold, optimize("O0")))\n\g<0>', made, flags=re.MULTILINE
        )
        assert count, "mypyc names these functions in another way now"
        source.write_text(made, encoding="utf-8")


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
    cmdclass={"build_ext": WithCompiled, "build_py": WithExample},
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
