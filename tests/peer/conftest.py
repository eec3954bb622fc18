"""The marks that transformers' own tests carry are none of ours; here they are known."""

THEIRS = ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test")


def pytest_configure(config):
    for mark in (*THEIRS, "torch_export_test", "generate"):
        config.addinivalue_line("markers", f"{mark}: of transformers")
