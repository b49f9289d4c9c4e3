"""The earlier name of `python -m core.finetune`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("core.finetune", run_name="__main__", alter_sys=True)
