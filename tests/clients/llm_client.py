"""The ``llm`` command line tool, which learns of the gateway from its own YAML file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

WORDS = "word0 word1 word2"

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "extra-openai-models.yaml").write_text(
        f"- model_id: routed\n  model_name: {os.environ['CLIENT_MODEL']}\n"
        f"  api_base: {os.environ['CLIENT_BASE_URL']}\n  supports_tools: true\n  supports_schema: true\n"
    )
    environment = os.environ | {"LLM_USER_PATH": folder, "OPENAI_API_KEY": os.environ["CLIENT_API_KEY"]}

    def llm(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("llm")), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert llm("-m", "routed", "[words=3]") == WORDS
    assert llm("-m", "routed", "--no-stream", "[words=3]") == WORDS
    assert '"days": 4' in llm("-m", "routed", "--schema", "city, days int", "A trip?")
    called = llm("-m", "routed", "--functions", "def weather(city: str) -> str:\n    return 'rain'", "Weather?")
    assert called == "The tool says: rain", called
print(f"llm {version('llm')}: 4 uses")
