"""Harder and rarer instructions out of simple ones."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import step
from llmos.data.synth.base import seed_of
from llmos.data.synth.rewriting import Rewriting, RewritingConfig

WAYS = (  # the operations of Evol-Instruct (Xu et al. 2023, "WizardLM", section 3), in words of our own
    "adds one more requirement that an answer must meet",
    "asks for a deeper or broader treatment of its subject",
    "makes its general terms concrete",
    "takes several steps of reasoning to answer",
    "is new, of the same field, and asked for more rarely",
)
PROMPT = (
    "Here is an instruction for an assistant. Write another one that {way}. It must make sense on its own, be answerable in text, "
    "and add at most 30 words. Reply with the new instruction only.\n\nInstruction:\n{text}"
)


@step("evolve_instruction")
class EvolveInstruction(Rewriting):
    """Adds rows whose instruction is a harder or rarer variant (Evol-Instruct, Xu et al. 2023): one of five ways, drawn for each row and
    copy. What gains nothing, being nearly the instruction itself, is refused. The other columns stay those of the row: drop its old
    answer, and write one with a later step."""

    class Config(RewritingConfig):
        max_likeness: float = Field(0.85, ge=0, le=1, description="Answers that share more character trigrams gained nothing.")

    config: Config

    def prompt(self, row: str, nth: int, text: str) -> str:
        way = WAYS[(seed_of(self.context.seed, self.name, "way", row) + nth) % len(WAYS)]
        return PROMPT.replace("{way}", way).replace("{text}", text)
