"""A task of an agent: what the agent has sent of it so far, and the stream parts of what is new.

Source: a2a-protocol.org, specification 1.0, sections 3.5.2, 4.1 and 4.2. An artifact arrives in
chunks (`append`), or as a whole that takes the place of an earlier one with its id. A task that is
read again, after a broken connection or by another worker, has all of its artifacts: what is known
of them yields nothing.

Rules:
1. The text of the answer is that of all artifacts, in the order in which they began. Where another
   artifact goes on, an empty line separates the two.
2. The parts of an artifact that are no text are known by their digests, by their number in it.
3. Parts that the events behind a whole task repeat yield nothing (a2a/repeats.py).
4. A message beside the state is a `Status` while the agent works, and text when the task is
   completed, unless an artifact has that text already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from hub.core.growing_text import GrowingText
from hub.core.parts import Data, File, Part, Reasoning, Replace, Status, Text
from hub.upstreams.a2a.objects import (
    ArtifactUpdate,
    StatusUpdate,
    Task,
    TaskArtifact,
    TaskMessage,
    TaskPart,
    TaskStatus,
)
from hub.upstreams.a2a.repeats import RepeatedParts
from hub.upstreams.content import read_text

SEPARATOR: Final = "\n\n"
_MAX_SAVED: Final = 256  # runs of text, and parts that are no text
NOTHING_SHOWN: Final = Text("")
"""The part of an event that has something to save, and nothing that readers see."""
_STATUS: Final = "status"  # the source of the text of messages beside the state
_UNNAMED: Final = "artifact"  # the source of an artifact without an id
_NO_SOURCE: Final = ""  # that of the empty lines between the others
_ENDS: Final = frozenset({"completed", "failed", "canceled", "rejected"})
_WAITS: Final = frozenset({"input-required", "auth-required"})
_DEFAULT_MEDIA_TYPE: Final = "application/octet-stream"
_DEFAULT_NAME: Final = "data"


class SavedTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What another worker needs to continue, as JSON beside the parts so far.

    texts: source and number of characters of each run of text. others: the digests of the parts of
    each artifact that are no text. message: the id of the newest message beside the state.
    is_answered: whether the agent has answered with a message and without a task. inputs: how many
    inputs it has got; input: the id of the message that asked for the last one. is_partial: whether
    `texts` and `others` are left out, because there are too many of them to save again and again.
    """

    task: str | None = None
    context: str | None = None
    state: str = ""
    texts: list[tuple[str, int]] = []
    others: dict[str, list[str]] = {}
    message: str | None = None
    is_answered: bool = False
    inputs: int = 0
    input: str | None = None
    is_partial: bool = False


class TaskProgress:
    """What an agent has sent of one task, or of one message that it answers with.

    state: in the words of 0.3, `working` and others; empty until then. words: the text of the
    message beside the state that ends the task or waits for the user. is_answered: as in SavedTask.
    news: grows with each event that has something new.

    saved: what another worker has saved. text: the text of the answer then.
    """

    def __init__(self, saved: SavedTask | None = None, text: str = "") -> None:
        self.task = saved.task if saved else None
        self.context = saved.context if saved else None
        self.state = ""
        self.words = ""
        self.is_answered = saved.is_answered if saved else False
        self.news = 0
        self._message = saved.message if saved else None
        self._inputs = saved.inputs if saved else 0
        self._input = saved.input if saved else None
        self._sent_input: str | None = None  # as _input, of the input that is being sent
        self._texts: list[tuple[str, GrowingText]] = []  # source and text of each run
        self._repeats: dict[str, RepeatedParts] = {}  # by artifact, after a subscription began
        self._others = {key: [*digests] for key, digests in saved.others.items()} if saved else {}
        for source, chars in saved.texts if saved else ():
            self._texts.append((source, GrowingText(text[:chars])))
            text = text[chars:]

    @property
    def is_settled(self) -> bool:
        """Whether the agent does nothing more by itself."""
        return self.is_answered or self.state in _ENDS or self.state in _WAITS

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return "".join(str(text) for _, text in self._texts)

    def save(self) -> SavedTask:
        """Return what another worker needs."""
        count = len(self._texts) + sum(map(len, self._others.values()))
        is_partial = count > _MAX_SAVED
        return SavedTask(
            task=self.task,
            context=self.context,
            state=self.state,
            texts=[] if is_partial else [(source, len(text)) for source, text in self._texts],
            others={} if is_partial else self._others,
            is_partial=is_partial,
            message=self._message,
            is_answered=self.is_answered,
            inputs=self._inputs,
            input=self._input,
        )

    @property
    def input_key(self) -> str:
        """The key of the input for which the task waits: another one for each message."""
        return f"input-{self._inputs + 1}-{_digest(self._message or '')[:8]}"

    def begin_input(self) -> None:
        """Note that the input for which the task waits is being sent."""
        self._sent_input = self._message
        self.state, self.words = "", ""

    def end_input(self, *, is_sent: bool) -> None:
        """Note whether the agent has got the input, if one was being sent."""
        if self._sent_input is not None and is_sent:
            self._inputs, self._input = self._inputs + 1, self._sent_input
            self.news += 1
        self._sent_input = None

    def on_task(self, task: Task) -> Iterator[Part]:
        """Yield what is new in a whole task.

        A replica of the agent can have an older one: nothing is read of a task that has ended
        meanwhile.
        """
        yield from self._note_ids(task.id if isinstance(task.id, str) else None, task.contextId)
        state = _read_state(task.status.state if task.status is not None else None)
        if self.state in _ENDS and state not in _ENDS:
            return
        for artifact in task.artifacts or ():
            yield from self._read_whole(artifact)
        if task.status is not None:
            yield from self._read_status(task.status)

    def begin_subscription(self, task: Task) -> None:
        """Note that events may follow that this whole task contains."""
        for artifact in task.artifacts or ():
            self._repeats[artifact.artifactId or _UNNAMED] = RepeatedParts(artifact.parts or ())

    def on_status(self, update: StatusUpdate) -> Iterator[Part]:
        """Yield what a new state says."""
        yield from self._note_ids(update.taskId, update.contextId)
        for source, repeats in self._repeats.items():
            yield from self._read_parts(source, repeats.release(), None)
        self._repeats = {}
        if update.status is not None:
            yield from self._read_status(update.status)

    def on_artifact(self, update: ArtifactUpdate) -> Iterator[Part]:
        """Yield what is new of an artifact."""
        yield from self._note_ids(update.taskId, update.contextId)
        if update.artifact is None:
            return
        if update.append:
            yield from self._read_more(update.artifact)
        else:
            yield from self._read_whole(update.artifact)

    def on_message(self, message: TaskMessage) -> Iterator[Part]:
        """Yield the whole answer."""
        yield from self._note_ids(message.taskId, message.contextId)
        self.is_answered = True
        yield from self._read_parts(message.messageId or "message", message.parts or (), None)

    def _note_ids(self, task: str | None, context: str | None) -> Iterator[Part]:
        if (task and not self.task) or (context and not self.context):
            self.task, self.context = self.task or task, self.context or context
            self.news += 1
            yield NOTHING_SHOWN

    def _read_status(self, status: TaskStatus) -> Iterator[Part]:
        state, message = _read_state(status.state), status.message
        chunks = message.parts or [] if message is not None else []
        text = "".join(read_text(part.text) for part in chunks)
        key = (message.messageId if message is not None else None) or _digest(text)
        if state == "input-required" and key in (self._input, self._sent_input):
            state = "working"  # the agent has not looked at the input yet
        if state != self.state:
            self.state = state
            self.news += 1
            yield NOTHING_SHOWN
        if self.is_settled and state != "completed":
            self.words = text
        if message is None or key == self._message:
            return
        self._message = key
        self.news += 1
        if state == "completed":
            if text and text not in self.text:
                yield from self._add_text(_STATUS, text)
        elif text and not self.is_settled:
            yield Status(text)
        others = [part for part in chunks if not read_text(part.text)]
        yield from self._read_parts(key, others, None)

    def _read_more(self, artifact: TaskArtifact) -> Iterator[Part]:
        source = artifact.artifactId or _UNNAMED
        parts: Sequence[TaskPart] = artifact.parts or ()
        if (repeats := self._repeats.get(source)) is not None:
            parts = repeats.take(parts)
            if repeats.is_decided:
                del self._repeats[source]
        yield from self._read_parts(source, parts, artifact.name)

    def _read_whole(self, artifact: TaskArtifact) -> Iterator[Part]:
        """Yield what is new in an artifact with all of its parts."""
        source, parts = artifact.artifactId or _UNNAMED, artifact.parts or ()
        self._repeats.pop(source, None)
        known = self._text_of(source)
        text = "".join(read_text(part.text) for part in parts if not _is_reasoning(part))
        if not text.startswith(known):
            yield self._replace_text(source, text)
            known = text
        yield from self._read_parts(source, parts, artifact.name, known_chars=len(known), index=0)

    def _read_parts(
        self,
        source: str,
        parts: Sequence[TaskPart],
        name: str | None,
        *,
        known_chars: int = 0,
        index: int | None = None,
    ) -> Iterator[Part]:
        """Yield the parts of a source, without so many characters at the beginning.

        index: the number of the first part that is no text; None means behind the known ones.
        """
        digests = self._others.get(source, [])
        n = len(digests) if index is None else index
        for part in parts:
            text = read_text(part.text)
            if text and not _is_reasoning(part):
                skipped = min(known_chars, len(text))
                known_chars -= skipped
                if text[skipped:]:
                    yield from self._add_text(source, text[skipped:])
                continue
            other = _convert(part, text, name or _DEFAULT_NAME, f"{source}/{n}" if n else source)
            if other is None:
                continue
            digest = _digest(msgspec.json.encode(other).decode())
            if n >= len(digests) or digests[n] != digest:
                digests[n : n + 1] = [digest]
                self._others[source] = digests
                self.news += 1
                yield other
            n += 1

    def _text_of(self, source: str) -> str:
        return "".join(str(text) for each, text in self._texts if each == source)

    def _add_text(self, source: str, text: str) -> Iterator[Part]:
        self.news += 1
        if not self._texts or self._texts[-1][0] != source:
            if self._texts:
                self._texts.append((_NO_SOURCE, GrowingText(SEPARATOR)))
                yield Text(SEPARATOR)
            self._texts.append((source, GrowingText()))
        self._texts[-1][1].append(text)
        yield Text(text)

    def _replace_text(self, source: str, text: str) -> Part:
        """Give a source another text, and return the answer's text."""
        self.news += 1
        sources = dict.fromkeys(each for each, _ in self._texts if each != _NO_SOURCE)
        texts = {each: text if each == source else self._text_of(each) for each in sources}
        self._texts = []
        for each, whole in texts.items():
            if whole:
                self._texts += [(_NO_SOURCE, GrowingText(SEPARATOR))] if self._texts else []
                self._texts.append((each, GrowingText(whole)))
        return Replace(self.text)


def _read_state(written: str | None) -> str:
    """Return a state in the words of 0.3, empty if there is none."""
    state = (written or "").removeprefix("TASK_STATE_").lower().replace("_", "-")
    return {"cancelled": "canceled", "unknown": "", "unspecified": ""}.get(state, state)


def _convert(part: TaskPart, text: str, name: str, key: str) -> Part | None:
    """Return a part that is no text of the answer, None if it has nothing."""
    if text:
        return Reasoning(text)
    file = part.file
    if file is not None and (file.uri or file.bytes):
        media_type = file.mimeType or _DEFAULT_MEDIA_TYPE
        data = None if file.uri else file.bytes
        return File(url=file.uri or None, data=data, media_type=media_type, name=file.name)
    if part.url or part.raw:
        media_type = part.mediaType or _DEFAULT_MEDIA_TYPE
        data = None if part.url else part.raw
        return File(url=part.url or None, data=data, media_type=media_type, name=part.filename)
    if part.data is not msgspec.UNSET:
        return Data(name, part.data, id=key or None)
    return None


def _is_reasoning(part: TaskPart) -> bool:
    """Whether a text is a thought, as agents of Google's ADK mark them."""
    return part.metadata is not None and part.metadata.get("adk_thought") is True


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
