"""Names of span attributes: the GenAI semantic conventions at one revision, and our own under ``disrouter.``.

OpenTelemetry's Python package marks all its GenAI names as moved and their new home has no package yet, so they stand
here. A test compares them with what the package still lists.
"""

from __future__ import annotations

__all__ = [
    "AGENT_NAME",
    "ERROR_TYPE",
    "HTTP_METHOD",
    "HTTP_ROUTE",
    "HTTP_STATUS",
    "INPUT_TOKENS",
    "INVOKE_AGENT",
    "INVOKE_WORKFLOW",
    "OPERATION_NAME",
    "OURS",
    "OUTPUT_TOKENS",
    "REQUEST_MODEL",
    "REQUEST_STREAM",
    "SCHEMA_URL",
    "TIME_TO_FIRST_CHUNK",
    "URL_PATH",
    "URL_SCHEME",
    "WORKFLOW_NAME",
]

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
"""The revision that these names are taken from."""

OPERATION_NAME = "gen_ai.operation.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
AGENT_NAME = "gen_ai.agent.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"

HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"

INVOKE_WORKFLOW = "invoke_workflow"
INVOKE_AGENT = "invoke_agent"

OURS = "disrouter."
"""Prefix of attributes that only we have: scenario, alpha, hops, decision, confidence, cost, saved."""
