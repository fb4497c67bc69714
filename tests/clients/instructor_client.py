"""instructor: validated objects by tool calls, by JSON schema and in part."""

from __future__ import annotations

import os
from importlib.metadata import version

import instructor
import openai
from pydantic import BaseModel

raw = openai.OpenAI(base_url=os.environ["CLIENT_BASE_URL"], api_key=os.environ["CLIENT_API_KEY"], max_retries=0)
MODEL = os.environ["CLIENT_MODEL"]


class Trip(BaseModel):
    city: str
    days: int


ASKED = [{"role": "user", "content": "A trip?"}]
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(raw, mode=mode)
    found = client.chat.completions.create(model=MODEL, messages=ASKED, response_model=Trip)
    assert (found.city, found.days) == ("text", 4), found
parts = list(
    instructor.from_openai(raw).chat.completions.create_partial(model=MODEL, messages=ASKED, response_model=Trip)
)
assert (parts[-1].city, parts[-1].days) == ("text", 4), parts[-1]
print(f"instructor {version('instructor')}: 3 uses")
