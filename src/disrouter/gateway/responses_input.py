"""What a request to ``/v1/responses`` is as a chat completion request."""

from __future__ import annotations

from typing import Any

from disrouter.gateway.errors import invalid, shown

__all__ = ["chat_body"]

_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")
"""What needs a memory of earlier responses, which a gateway does not keep."""

_DROPPED = ("include", "truncation", "max_tool_calls", "stream_options", *_STATEFUL)
_PARTS = {"input_text": "text", "output_text": "text", "text": "text"}


def chat_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return the chat completion request that a response request stands for.

    Raises:
        ProblemError: It cannot be said as a chat.
    """
    for name in _STATEFUL:
        if body.get(name):
            raise invalid(
                f"{name} is not supported: this gateway keeps no responses. Send the whole conversation as input.",
                param=name,
                code="unsupported_parameter",
            )
    taken = ("input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning", "top_logprobs")
    chat = {key: value for key, value in body.items() if key not in taken and key not in _DROPPED}
    chat["messages"] = _messages(body)
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("tools"):
        chat["tools"] = _tools(body["tools"])
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _tool_choice(body["tool_choice"])
    if body.get("top_logprobs"):
        chat |= {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    chat |= _of_text(body.get("text"))
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]
    return chat


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    given, instructions = body.get("input"), body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise invalid(f"instructions must be text; it is {shown(instructions)}.", param="instructions")
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(given, str) and given:
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise invalid(f"input must be text or a list of items; it is {shown(given)}.", param="input")
    for index, item in enumerate(given):
        _add_item(messages, item, f"input[{index}]")
    return messages


def _add_item(messages: list[dict[str, Any]], item: Any, where: str) -> None:
    """Add what an item of the input says to the messages."""
    if not isinstance(item, dict):
        raise invalid(f"{where} must be an object; it is {shown(item)}.", param=where)
    kind = item.get("type", "message")
    if kind in ("function_call", "function_call_output") and not isinstance(item.get("call_id"), str):
        raise invalid(
            f"{where}.call_id must say which call it is; it is {shown(item.get('call_id'))}.", param=f"{where}.call_id"
        )
    if kind == "message":
        messages.append({"role": item.get("role"), "content": _content(item.get("content"), where)})
    elif kind == "function_call":
        call = {
            "id": item.get("call_id"),
            "type": "function",
            "function": {"name": item.get("name"), "arguments": item.get("arguments")},
        }
        if messages and messages[-1].get("tool_calls"):
            messages[-1]["tool_calls"].append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else _content(output, where)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    elif kind != "reasoning":  # what a model thought to itself does not go into a chat
        raise invalid(
            f"{where} of type {shown(kind)} is not supported. Supported: message, function_call, "
            "function_call_output, reasoning.",
            param=where,
            code="unsupported_value",
        )


def _content(content: Any, where: str) -> Any:
    if not isinstance(content, list):
        return content  # text; anything else is refused with the chat's messages
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _PARTS:
            if not isinstance(part.get("text"), str):
                raise invalid(
                    f"{where}.content holds text that is none: {shown(part.get('text'))}.", param=f"{where}.content"
                )
            parts.append({"type": "text", "text": part.get("text")})
        elif kind == "refusal":
            parts.append({"type": "text", "text": part.get("refusal")})
        elif kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"], **({"detail": part["detail"]} if part.get("detail") else {})}
            parts.append({"type": "image_url", "image_url": image})
        else:
            raise invalid(
                f"{where}.content holds a part of type {shown(kind)}, which is not supported.",
                param=f"{where}.content",
                code="unsupported_value",
            )
    if all(part["type"] == "text" for part in parts):  # the plainest form is what most servers take
        return "\n".join(str(part["text"] or "") for part in parts)
    return parts


def _tools(tools: Any) -> list[dict[str, Any]]:
    if not isinstance(tools, list):
        raise invalid(f"tools must be a list; it is {shown(tools)}.", param="tools")
    found = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            kind = tool.get("type") if isinstance(tool, dict) else tool
            raise invalid(
                f"tools[{index}] of type {shown(kind)} is not supported; functions are.",
                param=f"tools[{index}]",
                code="unsupported_value",
            )
        function = {key: tool[key] for key in ("name", "description", "parameters", "strict") if key in tool}
        found.append({"type": "function", "function": function})
    return found


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _of_text(text: Any) -> dict[str, Any]:
    """Return what ``text`` says of form and length."""
    if text is None:
        return {}
    if not isinstance(text, dict):
        raise invalid(f"text must be an object; it is {shown(text)}.", param="text")
    found: dict[str, Any] = {}
    form = text.get("format")
    if form is not None and not (isinstance(form, dict) and isinstance(form.get("type"), str)):
        raise invalid(f"text.format must be an object with a type; it is {shown(form)}.", param="text.format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {key: form[key] for key in ("name", "description", "schema", "strict") if key in form}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(form, dict) and form["type"] != "text":
        found["response_format"] = {"type": form["type"]}
    if text.get("verbosity") is not None:
        found["verbosity"] = text["verbosity"]
    return found
