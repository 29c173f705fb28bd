"""Conversations: messages to answers, with reasoning and calls of tools apart."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _capi
from ._handle import Owned, take_text
from .errors import InvalidError, UnsupportedError, call
from .generate import GenerationStats, Stream, settings_of, start
from .model import Model
from .structured import Grammar, Schema, parse_answer
from .tokenizer import Message, Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ChatArguments, ChatOptions


Tools = Sequence[Mapping[str, Any]]


@dataclass
class ToolCall:
    name: str
    arguments: Any  # the value of the JSON that the model wrote
    id: Optional[str] = None


@dataclass
class ChatDelta:
    """The next part of an answer: one of these."""

    content: str = ""
    reasoning: str = ""
    tool_call: Optional[ToolCall] = None


@dataclass
class ChatResponse:
    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: Optional[str] = None
    stats: GenerationStats = field(default_factory=GenerationStats)
    parsed: Any = None  # with response_format: its value

    def message(self) -> dict[str, Any]:
        """As the next message of the conversation."""
        out: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            out["reasoning_content"] = self.reasoning
        if self.tool_calls:
            out["tool_calls"] = [
                {
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                    **({"id": c.id} if c.id else {}),
                }
                for c in self.tool_calls
            ]
        return out


class _Parser(Owned):
    """Splits an answer; the library calls back on this thread."""

    def __init__(self, template: str, context: bytes, prompt: str, tool_choice: int) -> None:
        self.parts: list[ChatDelta] = []
        parts = self.parts  # not self: the callback would keep it alive

        def take(_user: Optional[int], pointer: Any) -> None:
            event = pointer.contents
            if event.kind == _capi.PARSE["TOOL_CALL"]:
                name, call_id = event.name.decode(), event.id.decode() if event.id else None
                parts.append(ChatDelta(tool_call=ToolCall(name, json.loads(event.arguments), call_id)))
                return
            text = ctypes.string_at(event.text, event.len).decode("utf-8", "replace")
            reasons = event.kind == _capi.PARSE["REASONING"]
            parts.append(ChatDelta(reasoning=text) if reasons else ChatDelta(content=text))

        self._callback = _capi.ParseCallback(take)
        source, text, pointer = template.encode(), prompt.encode(), ctypes.c_void_p()
        arguments = (source, len(source), context, text, len(text), 0, tool_choice, self._callback, None, pointer)
        call(_capi.lib.pantry_parser_new, *arguments)
        super().__init__(pointer.value, _capi.lib.pantry_parser_free)

    def push(self, text: str) -> None:
        data = text.encode()
        call(_capi.lib.pantry_parser_push, self.pointer, data, len(data))

    def finish(self) -> None:
        call(_capi.lib.pantry_parser_finish, self.pointer)

    def take(self) -> list[ChatDelta]:
        taken = list(self.parts)
        self.parts.clear()
        return taken


class ChatStream(Iterator[ChatDelta]):
    """The parts of an answer while it is made; `response` is all of it so far. close() and cancel() as a Stream's."""

    def __init__(self, stream: Stream, parser: _Parser, schema: Optional[Any]) -> None:
        self._stream, self._parser, self._schema = stream, parser, schema
        self._ready: list[ChatDelta] = parser.take()[::-1]
        self.response = ChatResponse()

    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> ChatDelta:
        while not self._ready:
            piece = next(self._stream)
            if piece.text:
                self._parser.push(piece.text)
            if piece.finish_reason is not None:
                self._parser.finish()
                self.response.finish_reason, self.response.stats = piece.finish_reason, self._stream.stats
            self._ready = self._parser.take()[::-1]
        delta = self._ready.pop()
        self.response.content += delta.content
        self.response.reasoning += delta.reasoning
        if delta.tool_call is not None:
            self.response.tool_calls.append(delta.tool_call)
        return delta

    def result(self) -> ChatResponse:
        """Waits for the end."""
        for _ in self:
            pass
        if self._schema is not None and self.response.finish_reason == "stop" and not self.response.tool_calls:
            self.response.parsed = parse_answer(self.response.content, self._schema)
        return self.response

    def cancel(self) -> None:
        self._stream.cancel()

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _grammar(
    model: Model, form: Optional[Union[Grammar, Schema]], tools: Optional[Tools], choice: Union[str, Mapping[str, Any]]
) -> Optional[Grammar]:
    pointer = ctypes.c_void_p()
    tools_json = json.dumps(list(tools)).encode() if tools and choice != "none" else None
    if form is not None:
        own = Grammar.of(form)
        call(_capi.lib.pantry_grammar_for_answer, model.pointer, own.pointer, tools_json, True, pointer)
    elif tools_json is not None and choice != "auto":
        name = None if isinstance(choice, str) else str(choice["function"]["name"]).encode()
        call(_capi.lib.pantry_grammar_for_tools, model.pointer, tools_json, name, True, True, pointer)
    else:
        return None
    return Grammar.adopt(pointer.value or 0)


def stream_chat(
    model: Model,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    tools: Optional[Tools] = None,
    tool_choice: Union[str, Mapping[str, Any]] = "auto",
    response_format: Optional[Union[Grammar, Schema]] = None,
    template_kwargs: Optional[Mapping[str, Any]] = None,
    **kwargs: Unpack[ChatOptions],
) -> ChatStream:
    """The answer to a conversation, part by part.

    A message is {"role", "content"}; a part {"type": "image", "data": base64} of a content is a picture. `tools` are
    OpenAI's. `tool_choice`: "auto", "none", "required" or {"function": {"name": ...}}. `response_format`: a Grammar, a
    JSON schema or a pydantic model that the answer obeys. `template_kwargs` go to the template (enable_thinking=False).
    kwargs: as stream_generate."""
    if isinstance(tool_choice, str) and tool_choice not in _capi.TOOL_CHOICE:
        raise InvalidError(f"tool_choice: {tool_choice!r} is not one of {', '.join(_capi.TOOL_CHOICE)}")
    template = model.template
    if template is None:
        raise UnsupportedError(f"{model.path}: the model has no chat template; generate() continues a text")
    context: dict[str, Any] = {"messages": model.conversation(messages), "add_generation_prompt": True}
    context.update(template_kwargs or {})
    if tools and tool_choice != "none":
        context["tools"] = list(tools)
    settings = settings_of("stream_chat", {**kwargs})
    if settings.prompt_cache is not None:
        raise UnsupportedError("stream_chat: prompt_cache is not supported: a chat's whole prompt finds its own memory")
    if settings.grammar is not None:
        raise UnsupportedError("stream_chat: grammar is not supported: response_format is the form of an answer")
    settings.grammar = _grammar(model, response_format, tools, tool_choice)
    settings.control_tokens = True
    choice = _capi.TOOL_CHOICE[tool_choice] if isinstance(tool_choice, str) else _capi.TOOL_CHOICE["required"]
    encoded = json.dumps(context).encode()
    pointer, text, n = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    call(_capi.lib.pantry_prompt_chat, model.pointer, encoded, pointer, text, n)
    settings.prompt_handle = Owned(pointer.value, _capi.lib.pantry_prompt_free)
    parser = _Parser(template, encoded, take_text(text, n.value), choice)
    ids = _capi.lib.pantry_prompt_ids(settings.prompt_handle.pointer, n)[: n.value]
    form = None if isinstance(response_format, Grammar) else response_format
    return ChatStream(start(model, tokenizer, ids, settings), parser, form)


def chat(
    model: Model, tokenizer: Tokenizer, messages: Sequence[Message], **kwargs: Unpack[ChatArguments]
) -> ChatResponse:
    """The whole answer to a conversation. kwargs: as stream_chat."""
    with stream_chat(model, tokenizer, messages, **kwargs) as stream:
        return stream.result()


class Conversation:
    """Keeps the messages of a conversation: `send` adds a question and its answer."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, system: Optional[str] = None, **kwargs: Unpack[ChatArguments]
    ) -> None:
        self.model, self.tokenizer, self.kwargs = model, tokenizer, kwargs
        self.messages: list[Message] = [{"role": "system", "content": system}] if system is not None else []

    def _merged(self, kwargs: ChatArguments) -> ChatArguments:
        merged: ChatArguments = {**self.kwargs, **kwargs}
        return merged

    def stream(self, content: Any, **kwargs: Unpack[ChatArguments]) -> Iterator[ChatDelta]:
        """The message and its answer belong to the conversation once the answer is complete."""
        messages = [*self.messages, {"role": "user", "content": content}]
        with stream_chat(self.model, self.tokenizer, messages, **self._merged(kwargs)) as stream:
            yield from stream
            self.messages = [*messages, stream.response.message()]

    def send(self, content: Any, **kwargs: Unpack[ChatArguments]) -> ChatResponse:
        messages = [*self.messages, {"role": "user", "content": content}]
        response = chat(self.model, self.tokenizer, messages, **self._merged(kwargs))
        self.messages = [*messages, response.message()]
        return response


def generate_structured(
    model: Model,
    tokenizer: Tokenizer,
    prompt: Union[str, Sequence[Message]],
    schema: Schema,
    **kwargs: Unpack[ChatOptions],
) -> Any:
    """An answer as a value: an instance of a pydantic model, or what the JSON of a schema says. `prompt`: a text to
    continue, or messages. max_tokens is unlimited unless it is given."""
    kwargs.setdefault("max_tokens", -1)
    if not isinstance(prompt, str):
        response = chat(model, tokenizer, prompt, response_format=schema, **kwargs)
        text, reason = response.content, response.finish_reason
    else:
        settings = settings_of("generate_structured", {**kwargs, "grammar": Grammar.of(schema)})
        with start(model, tokenizer, tokenizer.prompt_ids(prompt), settings) as stream:
            pieces = list(stream)
        text, reason = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
    if reason != "stop":
        raise InvalidError(f"the answer is not whole (finish reason {reason!r}): {text[:200]}")
    return parse_answer(text, schema)
