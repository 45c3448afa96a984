"""Puts the folders of this repository into one installed package, `moescope`.

`model/` becomes `moescope.model`, and so on; `moescope/` is the package's own top.
"""

from setuptools import find_packages, setup

FOLDERS = ("configs", "model", "data_processors", "train", "inference", "analysis")

setup(
    packages=[
        "moescope",
        *(f"moescope.{name}" for name in find_packages(include=[f"{f}*" for f in FOLDERS])),
    ],
    package_dir={"moescope": "moescope", **{f"moescope.{folder}": folder for folder in FOLDERS}},
)
