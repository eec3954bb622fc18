"""transformers' own test mixins, which its wheel leaves out: its source archive, or a checkout of it, has them.

    pip download --no-deps --no-binary :all: transformers==5.24.0 && tar xf transformers-*.tar.gz
    TRANSFORMERS_SOURCE=transformers-5.24.0 python -m pytest tests/peer      # also needs: pip install parameterized

In: a name such as `test_modeling_common`. Out: that module. Where there is none, or not of the installed version, its tests are
skipped, with the reason.
"""

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import transformers

PACKAGE = "transformers_own_tests"
NOT_SHIPPED = {  # parts of transformers' tests that even the source archive lacks; what the mixins take from them
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": object},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    f"{PACKAGE}.utils.test_configuration_utils": {"config_common_kwargs": {}},
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}


def source() -> Path:
    """The folder of transformers' tests, of the version that is installed."""
    checkout = Path(transformers.__file__).parents[2]  # where transformers is installed from its source
    root = Path(os.environ.get("TRANSFORMERS_SOURCE", checkout))
    if not (root / "tests" / "test_modeling_common.py").is_file():
        pytest.skip("transformers' own tests are not here; see tests/peer/mixins.py", allow_module_level=True)
    info = root / "PKG-INFO"
    version = re.search(r"^Version: (\S+)", info.read_text(encoding="utf-8"), re.MULTILINE) if info.is_file() else None
    if version and version.group(1) != transformers.__version__:
        reason = f"{root} is transformers {version.group(1)}; {transformers.__version__} is installed"
        pytest.skip(reason, allow_module_level=True)
    return root / "tests"


def load(name: str) -> ModuleType:
    """One module of transformers' tests."""
    pytest.importorskip("parameterized", reason="transformers' own tests need parameterized")
    folder = source()
    if PACKAGE not in sys.modules:
        _module(PACKAGE, __path__=[str(folder)])
        for missing, contents in NOT_SHIPPED.items():
            parent = missing.rpartition(".")[0]
            if parent and parent not in sys.modules:
                _module(parent, __path__=[])
            _module(missing, **contents)
    with mock.patch("transformers.utils.direct_transformers_import", return_value=transformers):
        return import_module(f"{PACKAGE}.{name}")


def _module(name: str, **contents) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module
