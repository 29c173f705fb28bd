"""LangChain on models of this machine: ChatPantry (streams, tools, structured output) and PantryEmbeddings.

    chat = ChatPantry(model="qwen2.5-coder:1.5b", max_tokens=200)
    chat.invoke("Why is the sky blue?")
    chat.with_structured_output(Person).invoke("Ada is 36 years old.")

Needs langchain-core. Copy it into a program, or build on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Optional, Union

import pantry
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCall, ToolCallChunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

Loaded = tuple[pantry.Model, pantry.Tokenizer]
load = lru_cache(maxsize=4)(pantry.load)


def to_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """OpenAI's messages, with arguments of calls as values: chat templates expect those."""
    out = convert_to_openai_messages(list(messages))
    found = out if isinstance(out, list) else [out]
    for message in found:
        message["content"] = message.get("content") or ""
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return found


def usage_of(stats: pantry.GenerationStats) -> UsageMetadata:
    n = stats.prompt_tokens + stats.generation_tokens
    return UsageMetadata(input_tokens=stats.prompt_tokens, output_tokens=stats.generation_tokens, total_tokens=n)


class ChatPantry(BaseChatModel):
    model: str
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 0.0
    seed: Optional[int] = None
    adapters: tuple[str, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "pantry"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "adapters": self.adapters}

    def _start(self, messages: list[BaseMessage], stop: Optional[list[str]], **kwargs: Any) -> pantry.ChatStream:
        model, tokenizer = load(self.model, adapters=self.adapters)
        settings = {
            "max_tokens": self.max_tokens,
            "sampler": pantry.make_sampler(self.temperature, self.top_p, seed=self.seed),
            "stop": stop or (),
            **kwargs,
        }
        return pantry.stream_chat(model, tokenizer, to_messages(messages), **settings)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: Optional[list[str]] = None,
        run_manager: Optional[CallbackManagerForLLMRun] = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._start(messages, stop, **kwargs) as stream:
            answer = stream.result()
        message = AIMessage(
            content=answer.content,
            additional_kwargs={"reasoning_content": answer.reasoning} if answer.reasoning else {},
            tool_calls=[
                ToolCall(name=call.name, args=call.arguments, id=call.id or f"call-{i}")
                for i, call in enumerate(answer.tool_calls)
            ],
            usage_metadata=usage_of(answer.stats),
            response_metadata={"finish_reason": answer.finish_reason, "model_name": self.model},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: Optional[list[str]] = None,
        run_manager: Optional[CallbackManagerForLLMRun] = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        n_calls = 0
        with self._start(messages, stop, **kwargs) as stream:
            for delta in stream:
                calls: list[ToolCallChunk] = []
                if delta.tool_call is not None:
                    call = delta.tool_call
                    arguments, call_id = json.dumps(call.arguments), call.id or f"call-{n_calls}"
                    calls = [ToolCallChunk(name=call.name, args=arguments, id=call_id, index=n_calls)]
                    n_calls += 1
                reasoning = {"reasoning_content": delta.reasoning} if delta.reasoning else {}
                part = AIMessageChunk(content=delta.content, tool_call_chunks=calls, additional_kwargs=reasoning)
                if run_manager is not None:
                    run_manager.on_llm_new_token(delta.content, chunk=ChatGenerationChunk(message=part))
                yield ChatGenerationChunk(message=part)
            end = {"finish_reason": stream.response.finish_reason, "model_name": self.model}
            usage = usage_of(stream.response.stats)
            yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage, response_metadata=end))

    def bind_tools(
        self,
        tools: Sequence[Union[dict[str, Any], type, Callable[..., Any], BaseTool]],
        *,
        tool_choice: Optional[str] = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """`tool_choice`: "auto", "none", "any" or "required", or a tool's name."""
        named: Any = {None: "auto", "any": "required"}.get(tool_choice, tool_choice)
        if named not in ("auto", "none", "required"):
            named = {"type": "function", "function": {"name": named}}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=named, **kwargs)

    def with_structured_output(
        self, schema: Union[dict[str, Any], type], *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The answer obeys the schema while it is made, so that parsing does not fail."""
        if include_raw or kwargs:
            raise NotImplementedError("ChatPantry.with_structured_output takes only a schema")
        parser: Any = PydanticOutputParser(pydantic_object=schema) if isinstance(schema, type) else JsonOutputParser()
        chain: Runnable[LanguageModelInput, Any] = self.bind(response_format=schema) | parser
        return chain


class PantryEmbeddings(Embeddings):
    def __init__(self, model: str, dimensions: int = 0) -> None:
        self.model, self.dimensions = model, dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        model, _ = load(self.model)
        return pantry.embed(model, texts, dimensions=self.dimensions).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
