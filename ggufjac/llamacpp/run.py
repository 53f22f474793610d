"""llama.cpp as the judge: the logits and the intermediate tensors of its own run of a prompt, on the CPU."""

from __future__ import annotations

import ctypes
import operator
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import Handle, Library, library, load_model
from ggufjac.llamacpp.recording import Recorder, Recording
from ggufjac.llamacpp.tensors import Array, GraphTensor

if TYPE_CHECKING:
    from typing_extensions import Self

_CACHE_TYPES = {"f32": 0, "f16": 1}  # enum ggml_type
#: Architectures whose graphs give the logits of all positions, whichever were asked for. llama.cpp then hands out those
#: of the first positions for them, so that all must be asked for.
_WHOLE = frozenset({"cogvlm"})
_BUCKET = 64  # prompts of similar length share a context


class Observer(Protocol):
    """Watches a graph being computed: is asked about every tensor, and shown those that it wants once they are done."""

    def wants(self, tensor: GraphTensor) -> bool: ...

    def take(self, tensor: GraphTensor) -> None: ...


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
        repack: bool = False,
        watched: bool = True,
        called: str | None = None,
    ) -> None:
        """Load the file. `n_ctx`: longest prompt (llama.cpp rounds it up to a multiple of 256, and picks LongRoPE's
        factors by it); `kv`: type of the key/value cache; `threads`: the CPUs of this process when None; `repack`:
        copy the weights into a form that it multiplies with faster; `watched`: whether its tensors can be looked at, so
        that it asks about every one of them; `called`: what errors call the file (None: its path).

        Raises UserError when llama.cpp cannot load the file or cannot run it on text alone.
        """
        if kv not in _CACHE_TYPES:
            raise UserError(f"key/value cache type {kv!r}: choose one of {', '.join(sorted(_CACHE_TYPES))}")
        if n_ctx < 1:
            raise UserError(f"a context of {n_ctx} tokens holds no prompt: it must be at least 1")
        if threads is not None and threads < 1:
            raise UserError(f"{threads} threads cannot compute anything: it must be at least 1")
        self._library = library()
        self._called = called or os.fspath(path)
        self._kv = kv
        self._flash_attention = flash_attention
        self.threads = threads or _available_cpus()
        self._model = load_model(path, vocab_only=False, repack=repack, called=self._called)
        api, model = self._library.api, self._model.pointer
        if api.llama_model_has_encoder(model):
            raise UserError(f"{self._called}: encoder models cannot be run on a prompt alone; give a decoder-only one")
        self._n_ctx = n_ctx
        self.n_vocab = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        self._whole = _architecture(self._library, model) in _WHOLE
        self._watched = watched
        self._watching = _Watching(self._library)
        self._callback = api.ggml_backend_sched_eval_callback(self._watching.on_tensor)
        self._context: Handle | None = None
        self._capacity = 0
        self._control: Array | None = None

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
        rows = _rows(len(ids), all_positions)
        out = self._logits(self._decode(ids, rows), rows)
        return out if all_positions else out[0]

    def logits_at(self, ids: Sequence[int], positions: Sequence[int]) -> Array:
        """The logits of some positions alone, [n, vocab]. Raises UserError as `logits` does."""
        return self._logits(self._decode(ids, positions), positions)

    def goes_on(
        self, ids: Sequence[int], n_tokens: int, choose: Callable[[Array], int], ends: Callable[[int], bool]
    ) -> Iterator[int]:
        """The tokens with which a prompt goes on, at most n_tokens: `choose` picks each by the logits [vocab], and one
        that `ends` the text is the last. Keys and values of what was run are kept; it ends where the context is full.

        Raises UserError as `logits` does.
        """
        tokens = self._checked(ids)
        self._context_for(len(tokens))
        logits = self.logits(tokens)
        for i in range(n_tokens):
            token = choose(logits)
            yield token
            if ends(token) or i == n_tokens - 1 or len(tokens) + i >= self._n_ctx:
                return
            logits = self._logits(self._decode([token], (0,), before=len(tokens) + i), (0,))[0]

    def steer(self, directions: Mapping[int, Array], factor: float = 1.0) -> None:
        """Add vectors [d], times a factor, to what leaves some layers in every run from now on; {} ends that.

        Raises UserError for a layer that llama.cpp cannot steer, which block 0 is one of.
        """
        model, api = self._model.pointer, self._library.api
        n_layer, d = int(api.llama_model_n_layer(model)), int(api.llama_model_n_embd(model))
        rows = np.zeros((n_layer - 1, d), np.float32)  # from layer 1 on
        for layer, direction in directions.items():
            if not 1 <= layer < n_layer:
                raise UserError(f"llama.cpp cannot steer layer {layer} of {self._called}: it takes 1 to {n_layer - 1}")
            if direction.shape != (d,):
                shape = list(direction.shape)
                raise UserError(f"the control vector has directions {shape}; {self._called} takes [{d}]")
            rows[layer - 1] = factor * direction
        self._control = rows if directions else None
        if self._context is not None:
            self._apply_control(self._context.pointer)

    def _apply_control(self, context: Any) -> None:
        api, rows = self._library.api, self._control
        if rows is None:
            status = api.llama_set_adapter_cvec(context, None, 0, 0, 0, 0)
        else:
            data = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            status = api.llama_set_adapter_cvec(context, data, rows.size, rows.shape[1], 1, len(rows))
        if status != 0:
            raise UserError(f"{self._called}: llama.cpp takes no control vector: {self._library.log.reason()}")

    def record(self, ids: Sequence[int], recorder: Recorder, positions: Sequence[int] | None = None) -> Recording:
        """Run the prompt under the eyes of the recorder; its recording is returned, with the logits of some positions
        (None: of the last one), with which alone the last layer goes on.

        Raises UserError as `logits` does.
        """
        self._require_watched()
        self._context_for(len(self._checked(ids)))
        rows = _rows(len(ids), False) if positions is None else positions
        started = time.perf_counter()
        with self._watching.by(recorder):
            context = self._decode(ids, rows)
        recorder.recording.seconds = time.perf_counter() - started
        recorder.recording.logits = self._logits(context, rows)
        return recorder.recording

    def _logits(self, context: Any, rows: Sequence[int]) -> Array:
        out = np.empty((len(rows), self.n_vocab), np.float32)
        for row, position in zip(out, rows, strict=True):
            pointer = self._library.api.llama_get_logits_ith(context, position)
            if not pointer:
                raise RuntimeError(f"llama.cpp kept no logits of position {position}: {self._library.log.reason()}")
            row[:] = np.ctypeslib.as_array(pointer, (self.n_vocab,))
        return out

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
        self._require_watched()
        wanted = names if callable(names) else frozenset(names).__contains__
        observer = _Named(wanted)
        with self._watching.by(observer):
            self._decode(ids, _rows(len(ids), all_positions))
        return observer.found

    def _require_watched(self) -> None:
        if not self._watched:
            raise ValueError("this llama.cpp was started without anyone watching; open it with watched=True")

    def _decode(self, ids: Sequence[int], rows: Sequence[int], before: int = 0) -> Any:
        """Run the prompt through an empty context, or on from so many positions that it holds, and return it; rows:
        whose logits are wanted, counted from the first of these ids."""
        tokens, wanted = self._checked(ids), set(rows)
        context = self._context_for(len(tokens))
        api, log = self._library.api, self._library.log
        memory = api.llama_get_memory(context)
        if memory and not before:
            api.llama_memory_clear(memory, True)
        batch = api.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for position, token in enumerate(tokens):
                batch.token[position] = token
                batch.pos[position] = before + position
                batch.n_seq_id[position] = 1
                batch.seq_id[position][0] = 0
                batch.logits[position] = self._whole or position in wanted
            log.clear()
            status = api.llama_decode(context, batch)
            api.llama_synchronize(context)
        finally:
            api.llama_batch_free(batch)
        if status != 0:
            raise UserError(f"{self._called}: llama.cpp cannot run this prompt (status {status}): {log.reason()}")
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
                    f"token id {token} is outside the vocabulary of {self._called}: ids go from 0 to {self.n_vocab - 1}"
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
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = _CACHE_TYPES[self._kv]
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if self._flash_attention else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.offload_kqv = params.op_offload = False
        if self._watched:
            params.cb_eval = self._callback
        log.clear()
        pointer = api.llama_init_from_model(self._model.pointer, params)
        if not pointer:
            raise UserError(f"{self._called}: llama.cpp cannot make a context of {self._n_ctx} tokens: {log.reason()}")
        self._context, self._capacity = Handle(pointer, api.llama_free, uses=self._model), capacity
        if self._control is not None:
            self._apply_control(pointer)
        return pointer

    def _close_context(self) -> None:
        if self._context is not None:
            self._context.close()
        self._context, self._capacity = None, 0


def _rows(n_tokens: int, all_positions: bool) -> Sequence[int]:
    return range(n_tokens) if all_positions else (n_tokens - 1,)


class _Named:
    """Keeps the tensors that carry one of the names."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self.found: dict[str, list[Array]] = {}

    def wants(self, tensor: GraphTensor) -> bool:
        return bool(self._wanted(tensor.title))

    def take(self, tensor: GraphTensor) -> None:
        self.found.setdefault(tensor.title, []).append(tensor.read())


class _Watching:
    """The evaluation callback: llama.cpp asks it for every tensor whether it is needed, and shows the needed ones.

    What nobody asks for is computed in one go with its neighbours, so an idle callback costs only the questions.
    """

    def __init__(self, loaded: Library) -> None:
        self._ggml = loaded.ggml
        self._observer: Observer | None = None
        self._failure: BaseException | None = None

    @contextmanager
    def by(self, observer: Observer) -> Iterator[None]:
        """Show the tensors of what is computed inside to the observer; what it raised comes out at the end."""
        self._observer, self._failure = observer, None
        try:
            yield
        finally:
            failure, self._observer, self._failure = self._failure, None, None
        if failure is not None:
            raise failure

    def on_tensor(self, tensor: int, ask: bool, _data: object) -> bool:
        """ggml_backend_sched_eval_callback: True means "needed" when asked, "go on" otherwise."""
        if self._observer is None or self._failure is not None:
            return False
        try:
            seen = GraphTensor(self._ggml, tensor)
            if ask:
                return self._observer.wants(seen)
            self._observer.take(seen)
        except BaseException as failure:  # C cannot carry it: raised once llama_decode is back
            self._failure = failure
            return False
        return True


def _architecture(library: Library, model: Any) -> str:
    """The architecture of a loaded model, as its file calls it."""
    buffer = ctypes.create_string_buffer(128)
    library.api.llama_model_meta_val_str(model, b"general.architecture", buffer, len(buffer))
    return buffer.value.decode()


def _available_cpus() -> int:
    """The CPUs this process may use, which on a shared machine are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
