"""llama.cpp as the judge: the logits and the intermediate tensors of its own run of a prompt, on the CPU."""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import Handle, Library, TensorPrefix, library, load_model

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[np.float32]

_CACHE_TYPES = {"f32": 0, "f16": 1}  # enum ggml_type
_BF16 = 30
_NUMBERS: dict[int, Any] = {  # enum ggml_type -> numpy
    0: np.float32,
    1: np.float16,
    24: np.int8,
    25: np.int16,
    26: np.int32,
    27: np.int64,
    28: np.float64,
    _BF16: np.uint16,
}
_BUCKET = 64  # prompts of similar length share a context


class Runner:
    """One GGUF file, loaded by llama.cpp on the CPU. A context manager; not to be shared between threads.

    Every call starts from an empty cache and computes its prompt as one graph (one micro-batch of all T tokens), so
    results do not depend on earlier calls.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        n_ctx: int,
        kv: Literal["f16", "f32"] = "f16",
        flash_attention: bool = False,
        threads: int | None = None,
    ) -> None:
        """Load the file. `n_ctx`: longest prompt (llama.cpp rounds it up to a multiple of 256, and picks LongRoPE's
        factors by it); `kv`: type of the key/value cache; `threads`: the CPUs of this process when None.

        Raises UserError when llama.cpp cannot load the file or cannot run it on text alone.
        """
        if kv not in _CACHE_TYPES:
            raise UserError(f"key/value cache type {kv!r}: choose one of {', '.join(sorted(_CACHE_TYPES))}")
        if n_ctx < 1:
            raise UserError(f"a context of {n_ctx} tokens holds no prompt: it must be at least 1")
        if threads is not None and threads < 1:
            raise UserError(f"{threads} threads cannot compute anything: it must be at least 1")
        self._library = library()
        self._path = os.fspath(path)
        self._kv = kv
        self._flash_attention = flash_attention
        self._threads = threads or _available_cpus()
        self._model = load_model(path, vocab_only=False)
        api, model = self._library.api, self._model.pointer
        if api.llama_model_has_encoder(model):
            raise UserError(f"{path}: encoder models cannot be run on a prompt alone; give a decoder-only model")
        self._n_ctx = n_ctx
        self.n_vocab = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        self._capture = _Capture(self._library)
        self._callback = api.ggml_backend_sched_eval_callback(self._capture.on_tensor)
        self._context: Handle | None = None
        self._capacity = 0

    def close(self) -> None:
        """Free the context and the model; further calls do nothing."""
        self._close_context()
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def logits(self, ids: Sequence[int], all_positions: bool = False) -> Array:
        """The logits of the last position, [vocab], or of every position, [T, vocab].

        Raises UserError for an empty prompt, one longer than the context, or an id outside the vocabulary.
        """
        context = self._decode(ids, all_positions)
        rows = range(len(ids)) if all_positions else (len(ids) - 1,)
        out = np.empty((len(rows), self.n_vocab), np.float32)
        for row, position in zip(out, rows, strict=True):
            pointer = self._library.api.llama_get_logits_ith(context, position)
            if not pointer:
                raise RuntimeError(f"llama.cpp kept no logits of position {position}: {self._library.log.reason()}")
            row[:] = np.ctypeslib.as_array(pointer, (self.n_vocab,))
        return out if all_positions else out[0]

    def capture(
        self, ids: Sequence[int], names: Collection[str] | Callable[[str], bool], all_positions: bool = True
    ) -> dict[str, Array]:
        """`capture_all`, keeping of each name only the tensor that was computed last (after RoPE, not before)."""
        return {name: arrays[-1] for name, arrays in self.capture_all(ids, names, all_positions).items()}

    def capture_all(
        self, ids: Sequence[int], names: Collection[str] | Callable[[str], bool], all_positions: bool = True
    ) -> dict[str, list[Array]]:
        """The tensors of llama.cpp's graph that carry one of the names, in the order in which it computed them.

        names: as llama.cpp gives them ("attn_norm-0", "l_out-3", "result_norm"), or a test of a name. The names that
        did not occur are missing from the result.

        Arrays are float32 copies with the outermost axis first, as numpy has it ([T, d] for a hidden state); outer
        axes of length 1 are dropped down to two axes. The last layer computes only the rows that are asked for: all T
        with `all_positions`, otherwise the last alone.
        """
        wanted = names if callable(names) else frozenset(names).__contains__
        self._capture.begin(wanted)
        try:
            self._decode(ids, all_positions)
        finally:
            found, failure = self._capture.end()
        if failure is not None:
            raise failure
        return found

    def _decode(self, ids: Sequence[int], all_positions: bool) -> Any:
        """Run the prompt through an empty context and return it."""
        tokens = self._checked(ids)
        context = self._context_for(len(tokens))
        api, log = self._library.api, self._library.log
        memory = api.llama_get_memory(context)
        if memory:
            api.llama_memory_clear(memory, True)
        batch = api.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for position, token in enumerate(tokens):
                batch.token[position] = token
                batch.pos[position] = position
                batch.n_seq_id[position] = 1
                batch.seq_id[position][0] = 0
                batch.logits[position] = all_positions or position == len(tokens) - 1
            log.clear()
            status = api.llama_decode(context, batch)
            api.llama_synchronize(context)
        finally:
            api.llama_batch_free(batch)
        if status != 0:
            raise UserError(f"{self._path}: llama.cpp cannot run this prompt (status {status}): {log.reason()}")
        return context

    def _checked(self, ids: Sequence[int]) -> list[int]:
        """Ids as integers; llama.cpp must not see a bad one or too many, it would end the process."""
        tokens = [operator.index(token) for token in ids]
        if not tokens:
            raise UserError("the prompt has no tokens: give at least one")
        if len(tokens) > self._n_ctx:
            raise UserError(
                f"the prompt has {len(tokens)} tokens but the context holds {self._n_ctx}: shorten it or raise n_ctx"
            )
        for token in tokens:
            if not 0 <= token < self.n_vocab:
                raise UserError(
                    f"token id {token} is outside the vocabulary of {self._path}: ids go from 0 to {self.n_vocab - 1}"
                )
        return tokens

    def _context_for(self, length: int) -> Any:
        """A context whose micro-batch holds `length` tokens.

        Its buffers grow with the micro-batch (vocabulary x tokens for the logits alone), so it is sized by the prompts
        that come, not by n_ctx.
        """
        if self._context is not None and length <= self._capacity:
            return self._context.pointer
        self._close_context()
        capacity = min(-(-length // _BUCKET) * _BUCKET, self._n_ctx)
        api, log = self._library.api, self._library.log
        params = api.llama_context_default_params()
        params.n_ctx = self._n_ctx
        params.n_batch = params.n_ubatch = capacity
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = self._threads
        params.type_k = params.type_v = _CACHE_TYPES[self._kv]
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if self._flash_attention else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.offload_kqv = params.op_offload = False
        params.cb_eval = self._callback
        log.clear()
        pointer = api.llama_init_from_model(self._model.pointer, params)
        if not pointer:
            raise UserError(f"{self._path}: llama.cpp cannot make a context of {self._n_ctx} tokens: {log.reason()}")
        self._context, self._capacity = Handle(pointer, api.llama_free, uses=self._model), capacity
        return pointer

    def _close_context(self) -> None:
        if self._context is not None:
            self._context.close()
        self._context, self._capacity = None, 0


class _Capture:
    """The evaluation callback: llama.cpp asks it for every tensor whether it is needed, and shows the needed ones.

    What nobody asks for is computed in one go with its neighbours, so an idle callback costs only the questions.
    """

    def __init__(self, loaded: Library) -> None:
        self._ggml = loaded.ggml
        self._wanted: Callable[[str], bool] | None = None
        self._found: dict[str, list[Array]] = {}
        self._failure: BaseException | None = None

    def begin(self, wanted: Callable[[str], bool]) -> None:
        self._wanted, self._found, self._failure = wanted, {}, None

    def end(self) -> tuple[dict[str, list[Array]], BaseException | None]:
        found, failure = self._found, self._failure
        self._wanted, self._found, self._failure = None, {}, None
        return found, failure

    def on_tensor(self, tensor: int, ask: bool, _data: object) -> bool:
        """ggml_backend_sched_eval_callback: True means "needed" when asked, "go on" otherwise."""
        if self._wanted is None or self._failure is not None:
            return False
        try:
            name = self._ggml.ggml_get_name(tensor).decode("utf-8", "replace")
            if ask:
                return bool(self._wanted(name))
            self._found.setdefault(name, []).append(_read_tensor(self._ggml, tensor, name))
        except BaseException as failure:  # C cannot carry it: raised once llama_decode is back
            self._failure = failure
            return False
        return True


def _read_tensor(ggml: ctypes.CDLL, tensor: int, name: str) -> Array:
    """Copy a tensor, strided or not, out of llama.cpp's memory as float32."""
    header = TensorPrefix.from_address(tensor)
    number = _NUMBERS.get(header.type)
    if number is None:
        raise UserError(
            f"llama.cpp's tensor {name} is stored as {ggml.ggml_type_name(header.type).decode()}, not as plain numbers"
        )
    # for a view, ggml_nbytes is the span from its first element to its last
    span = np.empty(ggml.ggml_nbytes(tensor), np.uint8)
    ggml.ggml_backend_tensor_get(tensor, span.ctypes.data, 0, span.size)
    array: npt.NDArray[Any] = np.ndarray(tuple(header.ne)[::-1], number, span, strides=tuple(header.nb)[::-1])
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if header.type == _BF16:  # the upper half of a float32
        return np.ascontiguousarray((array.astype(np.uint32) << 16).view(np.float32))
    return np.ascontiguousarray(array, dtype=np.float32)


def _available_cpus() -> int:
    """The CPUs this process may use, which on a shared machine are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
