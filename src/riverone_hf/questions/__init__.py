"""What is asked, and which answers are allowed?

The 22 QCalEval families with their status codes and Q5 fields, prompts in both forms, answer writers and parsers.
Standard library only.
"""

from .answers import WORD_LIMITS, check_truth, write_answers
from .corpus import question_texts
from .enums import ASSESSMENTS, IDENTIFY, OUTCOMES, PLOT_TYPES, QUESTIONS, RESPONSE_KEYS, SCALES, STATUS_CODES
from .families import FAMILIES, family_of_type, get_family
from .family import Family, Field, full_type
from .parse import (
    StatusAnswer,
    parse_json,
    parse_label,
    parse_q0,
    parse_q1,
    parse_q2,
    parse_q4,
    parse_q5,
    parse_q6,
    parse_reason,
)
from .prompts import PROMPT_VERSION, full_prompt, short_prompt
from .schema import answer_schema
from .truth import UNRELIABLE, AxisTruth, PanelTruth, SitesTruth, Truth

__all__ = [
    "ASSESSMENTS",
    "FAMILIES",
    "IDENTIFY",
    "OUTCOMES",
    "PLOT_TYPES",
    "PROMPT_VERSION",
    "QUESTIONS",
    "RESPONSE_KEYS",
    "SCALES",
    "STATUS_CODES",
    "UNRELIABLE",
    "WORD_LIMITS",
    "AxisTruth",
    "Family",
    "Field",
    "PanelTruth",
    "SitesTruth",
    "StatusAnswer",
    "Truth",
    "answer_schema",
    "check_truth",
    "family_of_type",
    "full_prompt",
    "full_type",
    "get_family",
    "parse_json",
    "parse_label",
    "parse_q0",
    "parse_q1",
    "parse_q2",
    "parse_q4",
    "parse_q5",
    "parse_q6",
    "parse_reason",
    "question_texts",
    "short_prompt",
    "write_answers",
]
