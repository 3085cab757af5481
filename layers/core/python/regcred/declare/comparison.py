"""The input of a plan: the declared objects and the objects in Vault. It collects the problems. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from regcred.declare.kinds import DeclaredKind, Item, ObjectKey
from regcred.declare.live_objects import Live
from regcred.declare.steps import Problem, Terms
from regcred.vault.records.declared import ProjectPolicy


class Comparison:
    """The two sides of a comparison, and the problems found.

    Args:
        wanted: The declared objects.
        live: The objects in Vault.
        terms: The rules for the comparison.
    """

    def __init__(self, wanted: Mapping[ObjectKey, Item], live: Live, terms: Terms) -> None:
        self.wanted = wanted
        self.live = live
        self.terms = terms
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, item: Item, text: str) -> None:
        """Record that an item can't be applied."""
        self.problems.append(Problem(item.where, f"{item.key}: {text}"))

    def owned(self, item: Item, owner: str, *, differs: bool) -> tuple[str, bool] | None:
        """The owner to record, and whether it differs from the recorded owner.

        If the object belongs to another owner, record a problem and return None.
        """
        mine = self.terms.owner
        if owner and owner != mine and not self.terms.take_over and (mine or differs):
            self.problem(
                item,
                f"belongs to {owner!r}; change it there, use --owner {owner}, or take it over with "
                "--take-over",
            )
            return None
        kept = mine or owner
        return kept, kept != owner

    def policy(self, project: str) -> ProjectPolicy | None:
        """The bounds of a project: the declared ones, or else those in Vault; None if there are none."""
        declared = self.wanted.get(ObjectKey(DeclaredKind.PROJECT, "", project))
        found = self.live.projects.get(project)
        policy = declared.value if declared else found.value if found else None
        return policy if isinstance(policy, ProjectPolicy) else None
