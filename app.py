"""The app as a Space on the Hub starts it: `python app.py`. docs/use.md says what else a Space needs."""

import os
import sys

from mvfer.cli.app import main

if __name__ == "__main__":
    where = [
        "--host",
        os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        "--port",
        os.environ.get("GRADIO_SERVER_PORT", "7860"),
    ]
    sys.exit(main([*where, *sys.argv[1:]]))
