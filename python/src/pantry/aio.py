"""The same for asyncio: each wait for a token happens in a thread, so the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .chat import ChatDelta, ChatResponse, stream_chat
from .generate import GenerationResponse, stream_generate
from .model import Model
from .tokenizer import Message, Prompt, Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ChatArguments, GenerateOptions


T = TypeVar("T", covariant=True)
Item = TypeVar("Item")


class _Source(Protocol[T]):
    def __next__(self) -> T: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class AsyncStream(Generic[Item], AsyncIterator[Item]):
    """Cancelling the task that waits, aclose(), or the end of an `async with` ends the answer."""

    def __init__(self, source: _Source[Item]) -> None:
        self.source = source

    def __aiter__(self) -> AsyncStream[Item]:
        return self

    async def __anext__(self) -> Item:
        waiting = asyncio.ensure_future(asyncio.to_thread(self._next))
        try:
            found, item = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.source.cancel()
            await asyncio.wait([waiting])  # within a step: the thread uses the answer
            if not waiting.cancelled():
                waiting.exception()
            await asyncio.to_thread(self.source.close)
            raise
        if not found:
            raise StopAsyncIteration
        return item[0]

    def _next(self) -> tuple[bool, list[Item]]:
        try:
            return True, [next(self.source)]
        except StopIteration:
            return False, []

    async def aclose(self) -> None:
        self.source.cancel()
        await asyncio.to_thread(self.source.close)

    async def __aenter__(self) -> AsyncStream[Item]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _opened(open_: Callable[[], _Source[Item]]) -> AsyncStream[Item]:
    return AsyncStream(await asyncio.to_thread(open_))


async def astream_generate(
    model: Model, tokenizer: Tokenizer, prompt: Prompt, **kwargs: Unpack[GenerateOptions]
) -> AsyncStream[GenerationResponse]:
    """`async for response in await astream_generate(...)`. kwargs: as stream_generate."""
    return await _opened(lambda: stream_generate(model, tokenizer, prompt, **kwargs))


async def agenerate(model: Model, tokenizer: Tokenizer, prompt: Prompt, **kwargs: Unpack[GenerateOptions]) -> str:
    async with await astream_generate(model, tokenizer, prompt, **kwargs) as stream:
        return "".join([response.text async for response in stream])


async def astream_chat(
    model: Model, tokenizer: Tokenizer, messages: Sequence[Message], **kwargs: Unpack[ChatArguments]
) -> AsyncStream[ChatDelta]:
    return await _opened(lambda: stream_chat(model, tokenizer, messages, **kwargs))


async def achat(
    model: Model, tokenizer: Tokenizer, messages: Sequence[Message], **kwargs: Unpack[ChatArguments]
) -> ChatResponse:
    stream = await asyncio.to_thread(lambda: stream_chat(model, tokenizer, messages, **kwargs))
    async with AsyncStream(stream) as parts:
        async for _ in parts:
            pass
        return stream.result()
