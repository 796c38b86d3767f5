"""The state of a run: a fold over its events, the same for a live run, a replay and a test."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.files import read_bytes
from engine.config.methods.method import LIGHT_STEPS
from engine.protocol import events as ev
from engine.protocol.curve import Curve


@dataclass
class Clock:
    """Seconds that a run took, over all its engines, by the monotonic `elapsed` rather than the wall clock."""

    engine_seconds: float = 0.0  # from the first event of each engine to its last: what a rented card costs
    training_seconds: float = 0.0  # of that, while training, including repeated steps
    _last: float = 0.0
    _training: bool = False

    def apply(self, event: ev.AnyEvent) -> None:
        """Count up to this event."""
        if isinstance(event, ev.EngineStarted):
            self._last, self._training = 0.0, False
        passed = max(0.0, event.elapsed - self._last)
        self._last = max(self._last, event.elapsed)
        self.engine_seconds += passed
        self.training_seconds += passed if self._training else 0.0
        if isinstance(event, ev.StageChanged):
            self._training = event.stage == "training"


@dataclass
class RunState:
    """The state of a run after the events so far. Change it only through `apply`."""

    stage: ev.Stage = "starting"
    started: ev.EngineStarted | None = None
    model: ev.ModelLoaded | None = None
    adapter: ev.AdapterAdded | None = None
    dataset: ev.DatasetReady | None = None
    training: ev.TrainingStarted | None = None
    step: ev.Step | None = None
    loss: Curve = field(default_factory=Curve)
    eval_loss: Curve = field(default_factory=Curve)
    metric_curves: dict[str, Curve] = field(default_factory=dict)  # of the training method, by the trainer's names
    recent_metrics: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=LIGHT_STEPS))
    eval_metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation
    completions: ev.Completions | None = None  # the newest answers of a training by rewards
    trial: ev.Completions | None = None  # those of the trial of the rewards
    checkpoint: ev.CheckpointSaved | None = None
    finished: ev.TrainingFinished | None = None
    notices: list[ev.Notice] = field(default_factory=list)
    answers: list[ev.Answered] = field(default_factory=list)
    exports: list[ev.Exported] = field(default_factory=list)
    pushing: ev.Pushing | None = None
    pushes: list[ev.Pushed] = field(default_factory=list)
    push_failed: ev.PushFailed | None = None
    undelivered: tuple[str, ...] = ()  # what the spec asks for after training and is not done
    failed: ev.Failed | None = None
    resumed: ev.Resumed | None = None
    stopped: ev.Stopped | None = None
    ended: ev.EngineEnded | None = None
    last_event: ev.AnyEvent | None = None
    unsaved: bool = False  # trained since the result was last saved: the one on disk may be older
    clock: Clock = field(default_factory=Clock)

    def apply(self, event: ev.AnyEvent) -> None:
        """Update the state with the next event."""
        self.last_event = event
        self.clock.apply(event)
        match event:
            # First, because in a long run nearly all events are steps.
            case ev.Step(step=step, loss=loss):
                self.step = event
                if loss is not None:
                    self.loss.add(step, loss)
                if event.metrics:
                    self._add_metrics(event.metrics, step)
            case ev.EngineStarted():
                # A new engine on the same folder, as for a chat with an earlier run: earlier results are kept.
                self.started, self.stage, self.failed, self.ended = event, "starting", None, None
                self.pushing, self.stopped, self.resumed = None, None, None
            case ev.StageChanged(stage=stage):
                self.stage = stage
                self.unsaved = self.unsaved and stage not in ("serving", "exporting")
            case ev.Notice(message=message):
                # An engine that restarts on the same run repeats its notices.
                if all(notice.message != message for notice in self.notices):
                    self.notices.append(event)
            case ev.ModelLoaded():
                self.model = event
            case ev.AdapterAdded():
                self.adapter = event
            case ev.DatasetReady():
                self.dataset = event
            case ev.TrainingStarted():
                self.training, self.finished, self.unsaved = event, None, True
                self.undelivered = ()
                self.loss.set_total_steps(event.total_steps)
                for curve in self.metric_curves.values():
                    curve.set_total_steps(event.total_steps)
            case ev.Evaluated(step=step, eval_loss=loss):
                self.eval_loss.add(step, loss)
                self.eval_metrics = event.metrics or {}
            case ev.Completions():
                if event.step:
                    self.completions = event
                else:
                    self.trial = event
            case ev.CheckpointSaved():
                self.checkpoint = event
            case ev.Resumed():
                self.resumed = event
            case ev.Stopped():
                self.stopped = event
            case ev.TrainingFinished():
                self.finished = event
            case ev.Answered():
                self.answers.append(event)
            case ev.Exported():
                self.exports.append(event)
                self.unsaved = self.unsaved and event.kind not in ev.RESULTS
            case ev.Pushing():
                self.pushing, self.push_failed = event, None
            case ev.Pushed():
                self.pushes.append(event)
                self.pushing, self.push_failed = None, None
            case ev.PushFailed():
                self.pushing, self.push_failed = None, event
            case ev.Undelivered(missing=missing):
                self.undelivered = missing
            case ev.Failed():
                self.failed = event
            case ev.EngineEnded():
                self.ended, self.stage = event, "ended"

    def _add_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.recent_metrics.append(metrics)
        for key, value in metrics.items():
            if key not in self.metric_curves:
                self.metric_curves[key] = Curve()
                self.metric_curves[key].set_total_steps(self.training.total_steps if self.training else 0)
            self.metric_curves[key].add(step, value)

    @property
    def metrics(self) -> dict[str, float]:
        """The latest metrics of the training method, by the trainer's names."""
        return (self.step.metrics if self.step else None) or {}

    @property
    def continues_adapter(self) -> bool:
        """Whether an earlier adapter is trained further: it is what answers "before training"."""
        return any(notice.code == ev.CONTINUES_ADAPTER for notice in self.notices)

    @property
    def trained(self) -> bool:
        """Whether a complete result was saved."""
        return self.result is not None

    @property
    def result(self) -> ev.Exported | None:
        """The newest result of training: an adapter, or a whole model."""
        return next((export for export in reversed(self.exports) if export.kind in ev.RESULTS), None)

    @property
    def whole(self) -> bool:
        """Whether the result is a whole model: then neither an adapter nor the base model can answer beside it."""
        return self.result is not None and self.result.kind == "model"

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training left, at the pace so far; None when it is unknown."""
        if not (self.training and self.step and not self.finished):
            return None
        done = self.step.step - (self.resumed.step if self.resumed else 0)  # by this engine
        spent = self.step.elapsed - self.training.elapsed
        return spent / done * (self.training.total_steps - self.step.step) if done > 0 and spent >= 0 else None


def fold(events: Iterable[ev.AnyEvent]) -> RunState:
    """The state after these events."""
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def read_state(events: Path) -> RunState:
    """The state after all events of a run's `events.jsonl`; without that file, the initial state."""
    try:
        lines = read_bytes(events).splitlines()
    except OSError:
        lines = []
    return fold(event for line in lines if (event := ev.decode(line)))
