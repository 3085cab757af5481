"""Adds a registry, changes its definition, and replaces its upstream secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from starlette.responses import Response

from regcred.console import definition_form
from regcred.console.console import Visit
from regcred.console.forms import Form
from regcred.console.handlers.registry import read, reference_of, request_action
from regcred.errors import ConflictError, MalformedError, MissingError, RefusedError, RegcredError
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.registry.secret_destination import destination_change, destination_text
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Definition


def choose(visit: Visit) -> Response:
    """Show the vendors to choose from."""
    if visit.parameter("provider") or visit.saved_form():
        return add_form(visit)
    known = [(name, definition_form.summary(name), _is_keyless(name)) for name in catalog.names()]
    return visit.page(
        "choose.html",
        providers=sorted(known, key=lambda item: not item[2]),
        project=visit.parameter("project"),
    )


def _is_keyless(provider: str) -> bool:
    return not definition_form.secrets_of(provider, {})


def add_form(visit: Visit) -> Response:
    """Show the form of a vendor."""
    saved = visit.saved_form()
    form = saved or visit.form
    provider = _provider(form.get("provider") or visit.parameter("provider"))
    content = definition_form.content_of(provider, saved) if saved else {}
    return _form(visit, provider, content, form=form)


def _provider(name: str) -> str:
    if name not in catalog.names():
        raise MissingError("there is no such vendor")
    return name


def _form(
    visit: Visit,
    provider: str,
    content: Mapping[str, Any],
    *,
    form: Form,
    errors: Mapping[str, str] | None = None,
    reference: Reference | None = None,
    version: int = 0,
    secret_again: bool = False,
    status: int = 200,
) -> Response:
    first, rest = definition_form.fields_of(provider, content, errors)
    return visit.page(
        "edit.html",
        status=status,
        provider=provider,
        summary=definition_form.summary(provider),
        first=first,
        rest=rest,
        secrets=definition_form.secrets_of(provider, content, errors)
        if secret_again or not reference
        else [],
        keyless=_is_keyless(provider),
        reference=reference,
        version=version,
        projects=sorted(visit.fleet().projects) if reference is None else [],
        project=form.get("project") or visit.parameter("project"),
        name=form.get("registry"),
        errors=errors or {},
    )


def add(visit: Visit) -> Response:
    """Check the input, write it, and request the first credential."""
    form = visit.form
    provider = _provider(form.get("provider"))
    content = definition_form.content_of(provider, form)
    definition, errors = definition_form.check(provider, content)
    reference = _reference(form, errors)
    secret_fields = definition_form.secrets_of(provider, content)
    secret, missing = definition_form.secret_of(secret_fields, form)
    errors |= missing
    if definition is None or reference is None or errors:
        return _form(visit, provider, content, form=form, errors=errors, status=422)
    store = visit.access.store
    try:
        version = store.definition_version(reference)
        if version and _exists(visit, reference):
            errors["registry"] = f"{reference} exists already: choose another name, or edit this registry"
        elif problem := not_allowed(visit, reference, definition):
            errors[""] = problem
    except (RefusedError, MalformedError):
        errors["project"] = "your token may not add registries to a project of this name"
    if errors:
        return _form(visit, provider, content, form=form, errors=errors, status=422)
    _write(visit, reference, definition, secret, version=version)
    return visit.go(f"/registries/{reference}")


def _reference(form: Form, errors: dict[str, str]) -> Reference | None:
    try:
        return Reference(form.get("project"), form.get("registry"))
    except MalformedError as error:
        errors[error.field or "registry"] = str(error)
        return None


def _exists(visit: Visit, reference: Reference) -> bool:
    try:
        return visit.access.store.definition(reference) is not None
    except MalformedError:
        return True


def not_allowed(visit: Visit, reference: Reference, definition: BaseDefinition) -> str:
    """Why a definition exceeds the bounds of its project; empty if it does not, or if that is unknown."""
    try:
        found = visit.access.store.project(reference.project)
    except RefusedError:
        return ""
    if found is None:
        return f"there is no project {reference.project}; a platform admin must add it"
    policy = found.value
    try:
        check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
    except RefusedError as error:
        return str(error)
    return ""


def _write(
    visit: Visit, reference: Reference, definition: BaseDefinition, secret: Mapping[str, str], *, version: int
) -> None:
    """Write the secret first. A definition without its secret would fail at once."""
    store = visit.access.store
    if secret:
        _write_secret(visit, reference, definition, secret)
    store.write_definition(reference, Definition.model_validate(definition.content()), cas=version)
    if definition.needs_credential():
        request_action(visit, reference, Action.ROTATE)


def _write_secret(
    visit: Visit, reference: Reference, definition: BaseDefinition, secret: Mapping[str, str]
) -> None:
    store = visit.access.store
    typed = {name: SecretStr(value) for name, value in secret.items()}
    version = store.upstream_version(reference)
    store.write_upstream(reference, typed, bound_to=destination_text(definition), cas=version)


def edit_form(visit: Visit) -> Response:
    """Show the definition of a registry as a form."""
    shown = read(visit)
    saved = visit.saved_form()
    provider = _provider(str(shown.content.get("provider", "")))
    content = definition_form.content_of(provider, saved) if saved else shown.content
    form = saved or Form(
        [("project", shown.row.reference.project), ("registry", shown.row.reference.registry)]
    )
    return _form(visit, provider, content, form=form, reference=shown.row.reference, version=shown.version)


def edit(visit: Visit) -> Response:
    """Write a changed definition, and request a credential for it."""
    form, reference = visit.form, reference_of(visit)
    shown = read(visit)
    provider = _provider(form.get("provider") or str(shown.content.get("provider", "")))
    content = definition_form.content_of(provider, form)
    definition, errors = definition_form.check(provider, content)
    version = form.get("version")
    moved = _moved(shown.content, definition) if definition and definition.upstream_fields() else ""
    secret: dict[str, str] = {}
    if moved:
        secret, missing = definition_form.secret_of(definition_form.secrets_of(provider, content), form)
        errors |= missing
        if missing:
            errors[""] = f"{moved}. Regcred does not send the stored secret there, so enter it again"
    if definition is not None and not errors:
        if problem := not_allowed(visit, reference, definition):
            errors[""] = problem
        elif not version.isdecimal() or int(version) != shown.version:
            errors[""] = (
                "somebody else has changed this definition since you opened it; compare your input below "
                "with the registry's page, and send it again"
            )
    if definition is not None and not errors:
        try:
            _write(visit, reference, definition, secret, version=shown.version)
        except ConflictError:
            errors[""] = "somebody else has just changed this definition; check it, and send yours again"
        else:
            return visit.go(f"/registries/{reference}")
    return _form(
        visit,
        provider,
        content,
        form=form,
        errors=errors,
        reference=reference,
        version=shown.version,
        secret_again=bool(moved),
        status=422,
    )


def _moved(content: Mapping[str, Any], definition: BaseDefinition) -> str:
    """The changes of the destination that prevent the use of the stored secret; empty if there are none."""
    try:
        return destination_change(parse(content, where="definition"), definition)
    except MalformedError:
        return "The earlier definition can't be read"


def secret_form(visit: Visit) -> Response:
    """Show the form for a new upstream secret."""
    return _secret_form(visit)


def _secret_form(visit: Visit, errors: Mapping[str, str] | None = None, *, status: int = 200) -> Response:
    shown = read(visit)
    provider = _provider(str(shown.content.get("provider", "")))
    wanted = definition_form.secrets_of(provider, shown.content, errors)
    return visit.page("secret.html", status=status, row=shown.row, secrets=wanted, errors=errors or {})


def secret(visit: Visit) -> Response:
    """Write a new upstream secret, and request a credential with it."""
    shown = read(visit)
    provider = _provider(str(shown.content.get("provider", "")))
    wanted = definition_form.secrets_of(provider, shown.content)
    given, missing = definition_form.secret_of(wanted, visit.form)
    if not wanted or shown.definition is None:
        return _secret_form(
            visit, {"": "this registry needs no upstream secret, or its definition can't be read"}, status=422
        )
    if missing:
        return _secret_form(visit, missing, status=422)
    definition, wrong = definition_form.check(provider, shown.content)
    if definition is None:
        return _secret_form(visit, wrong, status=422)
    try:
        _write_secret(visit, shown.row.reference, definition, given)
    except ConflictError as error:
        raise RegcredError(f"{error}; nothing was saved: send it again") from None
    request_action(visit, shown.row.reference, Action.ROTATE)
    return visit.go(f"/registries/{shown.row.reference}")
