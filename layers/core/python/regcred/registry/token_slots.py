"""Rotation in two slots (A and B), for vendors whose secrets are valid until they are replaced.

Two slots take turns. A rotation renews the slot whose credential is *not* in use. So the credential that
clusters use works until it has been replaced everywhere. It ends at the next turn of its slot, one period
later. Every upstream change is saved in the slot store before it is made. A run that lost its claim notices
at the next save, and undoes its change.

A crash at any point is harmless for two reasons. The slot in use is not remembered, but read from the
credential in Vault (``context.in_force``). Any other object upstream with our name is left over, and the next
rotation removes it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.errors import ConflictError, MissingError, RegcredError, TooSoonError
from regcred.registry.interface import MintContext, SlotName, Slots, SlotStore

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=10)
"""How long a credential must still work after the next one is in use, however soon another rotation is
requested. Clusters poll every half minute, and running pulls take time."""

_DASHES = re.compile("-{2,}")

_REST_MAX = 40
"""The maximum length of a token's name after the project and the registry: family, slot, time and a random
part."""

_HASH_LENGTH = 16

_PLACES_MAX = 4
"""How many earlier locations of a definition are cleaned up."""

_NAME = re.compile(r"[ab]-([0-9a-f]{1,16})-[0-9a-f]+")
_ANY_NAME = re.compile(r"regcred-[a-z0-9-]+-[0-9a-f]{8}-[ab]-[0-9a-f]{1,16}-[0-9a-f]{8}")
_NAME_MAX = 255
_FAMILY_BYTES = 4
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A vendor's response to the creation of a token."""

    id: str
    username: str
    secret: SecretStr
    expires_at: datetime | None

    def credential(self, *, provider: str, keys: tuple[str, ...], issued_at: datetime) -> Credential:
        """The credential for a login with this token.

        Args:
            provider: The name of its provider.
            keys: The keys of the ``auths`` map.
            issued_at: The start of its validity.
        """
        return Credential(
            provider=provider,
            logins=(Login(self.username, self.secret, keys),),
            issued_at=issued_at,
            expires_at=self.expires_at,
            revocation_id=self.id,
        )


class TokenVendor(Protocol):
    """A vendor that keeps any number of named tokens (robots, deploy tokens) and chooses their secrets.

    Methods raise what :class:`regcred.registry.interface.Provider` raises.
    """

    name_max: int
    """The maximum length of a token's name at the vendor, in characters."""

    @property
    def location(self) -> str:
        """The location of its tokens: server and organisation, project or user (``hub.docker.com team``)."""

    def at(self, location: str) -> TokenVendor | None:
        """The same vendor at another location.

        None if this login must not be used there, because it is another server.
        """

    def tokens(self) -> Mapping[str, str]:
        """The names of all tokens, by ID."""

    def create(self, name: str) -> NamedToken:
        """Create a token that may pull only what the definition allows."""

    def remove(self, token_id: str) -> None:
        """Remove a token. A missing token is not an error."""


class UserVendor(Protocol):
    """A vendor with two users whose passwords can be set.

    Methods raise what :class:`regcred.registry.interface.Provider` raises.
    """

    def set_password(self, user: str, password: SecretStr) -> None:
        """Replace a user's password. The old one is refused at the next login."""

    def lock_out(self, user: str, password: SecretStr) -> None:
        """Replace a user's password, and end all access by the old one: sessions and pull tokens."""


class MemorySlotStore:
    """A slot store in memory, for a call without a stored one. Nothing is kept after the call."""

    def __init__(self) -> None:
        self._slots = Slots()

    def read(self) -> Slots:
        """The slots that were written during this call."""
        return self._slots

    def latest(self) -> Slots:
        """The slots that were written during this call."""
        return self._slots

    def write(self, slots: Slots) -> None:
        """Keep the slots in memory."""
        self._slots = slots


def renew_token(vendor: TokenVendor, context: MintContext) -> NamedToken:
    """Create a token in the slot that is not in use, and remove earlier tokens that are no longer used.

    The tokens to remove are listed *before* a save confirms the claim. So they never include a token of a run
    that took over in the meantime.

    Raises:
        ConflictError: Another run took over. The new token has been removed again.
    """
    slot_store = context.slot_store or MemorySlotStore()
    known = slot_store.read()
    family = _family(known) or secrets.token_hex(_FAMILY_BYTES)
    prefix = _prefix(context, vendor, family)
    elsewhere = _left_elsewhere(vendor, known, context)
    left = _left_over(_made(vendor, prefix), context)
    target, active = _turn(known, context)
    name = f"{prefix}{target}-{_stamp(context)}-{secrets.token_hex(_FAMILY_BYTES)}"
    state = {
        "family": family,
        "name": name,
        "location": vendor.location,
        "elsewhere": "\n".join(location for location, _, _ in elsewhere),
    }
    _save(slot_store, known, target, active, state)
    for token_id in left:
        vendor.remove(token_id)
    for location, moved, ids in elsewhere:
        _remove_elsewhere(location, moved, ids)
    token = vendor.create(name)
    try:
        _save(slot_store, known, target, active, {**state, "id": token.id})
    except ConflictError:
        vendor.remove(token.id)
        raise
    return token


def renew_user(vendor: UserVendor, users: tuple[str, str], context: MintContext) -> NamedToken:
    """Set a new random password for the user of the slot that is not in use.

    Raises:
        TooSoonError: Clusters may still use this user's password, because the other one is too new.
        ConflictError: Another run took over. This run's password has been replaced again.
    """
    slot_store = context.slot_store or MemorySlotStore()
    known = slot_store.read()
    target, active = _turn(known, context)
    user = users[0] if target is SlotName.A else users[1]
    _wait_for_clusters(known, target, active, context)
    password = secrets.token_urlsafe(_SECRET_BYTES)
    state = {
        "id": f"{target}:{secrets.token_hex(_FAMILY_BYTES)}",
        "user": user,
        "password": password,
        "at": _stamp(context),
    }
    _save(slot_store, known, target, active, state)
    vendor.set_password(user, SecretStr(password))
    try:
        _save(slot_store, known, target, active, state)
    except ConflictError:
        theirs = slot_store.latest().states.get(target, {})
        if theirs.get("user") == user and theirs["password"] != password:
            vendor.set_password(user, SecretStr(theirs["password"]))
        raise
    return NamedToken(state["id"], user, SecretStr(password), None)


def end_tokens(vendor: TokenVendor, revocation_id: str, context: MintContext) -> None:
    """Remove a revoked token and its predecessor, which clusters also had and which may have leaked too.

    Only tokens with our name are removed. If the definition was changed, the ID may belong to another
    project's token elsewhere.
    """
    known = (context.slot_store or MemorySlotStore()).read()
    family = _family(known)
    for holder in (vendor, *_moved(vendor, known).values()):
        for token_id, name in sorted(holder.tokens().items()):
            revoked = token_id == revocation_id and name.startswith(_prefix(context, holder))
            if revoked or (family and name.startswith(_prefix(context, holder, family))):
                holder.remove(token_id)


def lock_users(vendor: UserVendor, users: tuple[str, str]) -> None:
    """Set random passwords that nobody knows for both users, because clusters had both passwords."""
    for user in users:
        vendor.lock_out(user, SecretStr(secrets.token_urlsafe(_SECRET_BYTES)))


def _family(known: Slots) -> str:
    """The part of the names that all tokens of this registry share; empty before the first token."""
    return next((state["family"] for state in known.states.values() if "family" in state), "")


def is_token_name(name: str) -> bool:
    """Whether a token's name has Regcred's form, for any registry."""
    return len(name) <= _NAME_MAX and bool(_ANY_NAME.fullmatch(name))


def _prefix(context: MintContext, vendor: TokenVendor, family: str = "") -> str:
    """The prefix of our tokens' names. Harbor does not allow ``--``, and every vendor limits the length."""
    reference = context.reference
    ours = _DASHES.sub("-", f"regcred-{reference.project}-{reference.registry}-")
    if len(ours) + _REST_MAX > vendor.name_max:
        ours = f"regcred-{hashlib.sha256(str(reference).encode()).hexdigest()[:_HASH_LENGTH]}-"
    return f"{ours}{family}-" if family else ours


def _made(vendor: TokenVendor, prefix: str) -> dict[str, int]:
    """By ID, when each token of this registry was created, in seconds since 1970."""
    return {
        token_id: _made_at(name.removeprefix(prefix))
        for token_id, name in vendor.tokens().items()
        if name.startswith(prefix)
    }


def _moved(vendor: TokenVendor, known: Slots) -> dict[str, TokenVendor]:
    """The earlier locations of the definition's tokens to which this login may be sent."""
    named = [state.get("location", "") for state in known.states.values()]
    named += [
        location for state in known.states.values() for location in state.get("elsewhere", "").split("\n")
    ]
    found = {
        location: vendor.at(location)
        for location in dict.fromkeys(named)
        if location and location != vendor.location
    }
    reachable = {location: other for location, other in found.items() if other is not None}
    return dict(list(reachable.items())[:_PLACES_MAX])


def _left_elsewhere(
    vendor: TokenVendor, known: Slots, context: MintContext
) -> list[tuple[str, TokenVendor, list[str]]]:
    """The tokens at earlier locations that are no longer used.

    A location without our tokens is not checked again.
    """
    family, found = _family(known), []
    for location, moved in _moved(vendor, known).items():
        try:
            made = _made(moved, _prefix(context, moved, family))
        except MissingError:  # the organisation or project no longer exists, and neither do its tokens
            continue
        except RegcredError as error:
            log.warning("%s: the tokens at %s can't be listed: %s", context.reference, location, error)
            found.append((location, moved, list[str]()))
            continue
        if made:
            found.append((location, moved, _replaced(made, known, context)))
    return found


def _replaced(made: Mapping[str, int], known: Slots, context: MintContext) -> list[str]:
    """The unused tokens at an earlier location: all of them, once clusters have one of the new location."""
    if not context.in_force or context.in_force in made:
        return _left_over(made, context)
    names = [state.get("name", "") for state in known.states.values() if state.get("id") == context.in_force]
    since = (context.now() - OVERLAP).timestamp()
    settled = all(_made_at(_tail(name)) <= since for name in names)
    return list(made) if settled else []


def _tail(name: str) -> str:
    """The last part of a token's name: slot, time and a random part."""
    return "-".join(name.rsplit("-", 3)[-3:])


def _remove_elsewhere(location: str, vendor: TokenVendor, token_ids: list[str]) -> None:
    for token_id in token_ids:
        try:
            vendor.remove(token_id)
        except RegcredError as error:  # the next turn retries it
            log.warning("a token at %s can't be removed: %s", location, error)


def _turn(known: Slots, context: MintContext) -> tuple[SlotName, SlotName | None]:
    """The slot to renew, and the slot in use."""
    active = next(
        (
            slot
            for slot in SlotName
            if context.in_force and known.states.get(slot, {}).get("id") == context.in_force
        ),
        None,
    )
    if active is None and context.in_force[:2] in {f"{slot}:" for slot in SlotName}:
        active = SlotName(context.in_force[0])  # the slots were lost, but a user's ID contains its slot
    if active:
        return active.other, active
    if known.pending and not context.in_force:  # if the credential was lost, the newest slot may be in use
        return known.pending.other, None
    return known.pending or SlotName.A, None


def _stamp(context: MintContext) -> str:
    """The time in the format for names and states."""
    return f"{int(context.now().timestamp()):x}"


def _made_at(rest: str) -> int:
    """When a token was created, in seconds since 1970, from its name after the prefix; 0 if unknown."""
    made = _NAME.fullmatch(rest)
    return int(made[1], 16) if made else 0


def _left_over(made: Mapping[str, int], context: MintContext) -> list[str]:
    """The tokens that are no longer used: all but the one in use, and those replaced within :data:`OVERLAP`.

    Args:
        made: By ID, when each of our tokens was created.
        context: Names the token in use. If it names none, the newest one may be in use.
    """
    since = (context.now() - OVERLAP).timestamp()
    ordered = sorted(made, key=made.__getitem__)
    replaced = dict(pairwise(ordered))
    used = {context.in_force or ordered[-1]} if ordered else set()
    return [token for token in ordered if token not in used and made.get(replaced.get(token, ""), 0) <= since]


def _wait_for_clusters(known: Slots, target: SlotName, active: SlotName | None, context: MintContext) -> None:
    if active is None or target not in known.states:
        return
    age = context.now().timestamp() - int(known.states.get(active, {}).get("at", "0"), 16)
    left = OVERLAP.total_seconds() - age
    if left > 0:
        raise TooSoonError(
            f"the other user's password is {_minutes(max(age, 0))} old, and clusters may still use this one; "
            f"try again in {_minutes(math.ceil(left / 60) * 60)}",
            retry_after=timedelta(seconds=left),
        )


def _minutes(seconds: float) -> str:
    minutes = int(seconds / 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def _save(
    slot_store: SlotStore, known: Slots, target: SlotName, active: SlotName | None, state: Mapping[str, str]
) -> None:
    slot_store.write(Slots(states={**known.states, target: state}, active=active, pending=target))
