"""Signing in and out, sessions and their cookies, and forged or stale forms."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet
from fakes.console import NOW, ORIGIN, FakeAccess, World
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

from regcred.console import guard, sealing_keys
from regcred.console.cookies import SESSION
from regcred.console.handlers.sign_in import COOKIE as SIGN_IN
from regcred.console.interface import Who
from regcred.console.sealed_cookies import Seal
from regcred.errors import RefusedError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.store import Store

ADD = "/registries/add"


@pytest.fixture
def world():
    world = World()
    store = Store(world.vault.kv)
    store.write_project("payments", ProjectPolicy(hosts=["registry.example.com"]), cas=0)
    store.write_definition(
        Reference("payments", "main"), Definition(provider="basic", hosts=["registry.example.com"]), cas=0
    )
    return world


def test_a_user_without_a_session_is_redirected_to_sign_in_and_back(world):
    browser = world.browser()
    answer = browser.get("/registries?state=failing")
    assert answer.status == 303
    assert answer.header("location") == "/sign-in?next=" + quote("/registries?state=failing", safe="")


def test_the_session_cookie_is_for_this_host_over_tls_only_and_hidden_from_scripts(world):
    answer = world.browser().sign_in()
    cookie = next(
        value for name, value in answer.headers if name == "set-cookie" and value.startswith(SESSION)
    )
    assert {"Path=/", "HttpOnly", "Secure", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "s.token1" not in cookie


def test_after_a_wrong_password_the_form_keeps_the_name_only(world):
    browser = world.browser()
    answer = browser.sign_in("alice", "wrong-password")
    assert answer.status == 403
    assert "The user name or the password is wrong." in answer.text
    assert 'value="alice"' in answer.text
    assert "wrong-password" not in answer.text
    assert SESSION not in browser.cookies


def test_a_right_password_that_is_not_enough_is_not_called_wrong(world):
    """Vault asks for a second factor, or the token may not look itself up."""
    world.vault.failing = RefusedError("Vault asks for a second factor")
    answer = world.browser().sign_in("alice", "right")
    assert answer.status == 403
    assert "Vault refused the sign-in. Vault asks for a second factor" in answer.text
    assert "password is wrong" not in answer.text


def test_a_token_whose_session_does_not_fit_into_a_cookie_is_refused_at_the_sign_in(world, monkeypatch):
    """Otherwise the next page would ask for a sign-in again, without a reason."""
    signed_in = set()
    for length in range(2560, 2800, 12):
        token = "b." + "x" * length
        world.vault.tokens[token] = Who("alice", "entity-1", frozenset(), timedelta(hours=1))
        monkeypatch.setattr(world.vault, "by_password", lambda *_, token=token: SecretStr(token))
        browser = world.browser()
        answer = browser.sign_in()
        assert answer.status in {303, 422}
        assert (browser.get("/").status == 200) is (answer.status == 303), length
        signed_in.add(answer.status == 303)
    assert signed_in == {True, False}


def test_signing_in_requires_a_form_of_the_same_browser(world):
    browser = world.browser()
    other = world.browser().get("/sign-in")
    fields = {"csrf": other.csrf, "method": "1", "username": "mallory", "password": "right"}
    assert browser.post("/sign-in", fields).status == 403
    assert SESSION not in browser.cookies


def test_signing_in_always_starts_a_new_session(world):
    victim, attacker = world.browser(), world.signed_in()
    victim.cookies |= (
        attacker.cookies
    )  # session fixation: the attacker sets cookies before the victim signs in
    victim.cookies.pop(SESSION)
    before = dict(victim.cookies)
    victim.sign_in("victim")
    assert victim.cookies[SESSION] not in before.values()
    assert attacker.get("/").text.count("victim") == 0
    assert "victim" in victim.get("/").text


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_a_changed_cookie_is_not_a_session(world, position):
    browser = world.signed_in()
    text = browser.cookies[SESSION]
    place = {"first": 0, "middle": len(text) // 2, "last": len(text) - 3}[position]
    browser.cookies[SESSION] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
    assert browser.get("/").status == 303


def test_a_cookie_with_another_purpose_is_not_a_session(world):
    browser = world.browser()
    browser.get("/sign-in")
    browser.cookies[SESSION] = browser.cookies[SIGN_IN]
    assert browser.get("/").status == 303


def test_a_cookie_sealed_with_another_key_is_not_a_session(world):
    stranger = World()
    browser = world.browser()
    browser.cookies[SESSION] = stranger.signed_in().cookies[SESSION]
    assert browser.get("/").status == 303


def test_a_session_ends_after_its_idle_time(world):
    browser = world.signed_in()
    world.now = NOW + timedelta(minutes=29)
    assert browser.get("/").status == 200
    world.now += timedelta(minutes=29)
    assert browser.get("/").status == 200
    world.now += timedelta(minutes=31)
    assert browser.get("/").status == 303


def test_a_session_ends_after_its_maximum_time_even_if_it_is_used(world):
    browser = world.signed_in()
    for _ in range(30):
        world.now += timedelta(minutes=20)
        browser.get("/")
    assert browser.get("/").status == 303


def test_a_token_that_vault_no_longer_accepts_ends_the_session(world):
    browser = world.signed_in()
    world.vault.tokens.clear()
    answer = browser.get("/")
    assert answer.status == 303
    assert SESSION not in browser.cookies


def test_signing_out_revokes_the_token_and_ends_the_session(world):
    browser = world.signed_in()
    cookie = browser.cookies[SESSION]
    browser.post("/sign-out", {"csrf": browser.get("/").csrf})
    assert world.vault.tokens == {}
    browser.cookies[SESSION] = cookie
    assert browser.get("/").status == 303


def test_a_person_who_signs_out_learns_that_the_token_could_not_be_revoked(world, monkeypatch):
    browser = world.signed_in()

    def refuse(_access):
        raise RefusedError("permission denied")

    monkeypatch.setattr(FakeAccess, "revoke", refuse)
    answer = browser.post("/sign-out", {"csrf": browser.get("/").csrf})
    page = browser.get(answer.header("location")).text
    assert "You are signed out." in page
    assert "Vault did not revoke your token" in page
    assert SESSION not in browser.cookies
    assert "Vault did not revoke" not in browser.get("/sign-in?out=1").text


def test_a_person_can_sign_out_while_vault_does_not_answer(world):
    browser = world.signed_in()
    csrf = browser.get("/").csrf
    world.vault.failing = TransientError("Vault is sealed")
    assert browser.post("/sign-out", {"csrf": "forged"}).status == 403
    assert SESSION in browser.cookies
    answer = browser.post("/sign-out", {"csrf": csrf})
    assert answer.header("location") == "/sign-in?out=1&not_revoked=1"
    assert SESSION not in browser.cookies
    assert browser.get("/").status == 303


def test_signing_out_requires_a_form_of_the_session(world):
    browser = world.signed_in()
    assert browser.post("/sign-out", {"csrf": "forged"}).status == 403
    assert world.vault.tokens


FORGED = [
    {"origin": "https://evil.example.com", "sec-fetch-site": "cross-site"},
    {"origin": "null", "sec-fetch-site": "cross-site"},
    {"origin": "http://console.example.com", "sec-fetch-site": "same-site"},
    {"origin": "https://console.example.com:8443", "sec-fetch-site": ""},
]


@pytest.mark.parametrize("headers", FORGED)
def test_a_form_from_another_origin_does_nothing_even_with_the_right_csrf_token(world, headers):
    browser = world.signed_in()
    csrf = browser.get("/registries/payments/main").csrf
    answer = browser.post("/registries/payments/main/do/rotate", {"csrf": csrf}, **headers)
    assert answer.status == 403
    assert "requests/payments/main" not in world.vault.kv.paths()


@pytest.mark.parametrize("csrf", ["", "forged", "s.token1"])
def test_a_form_without_the_csrf_token_of_the_session_does_nothing(world, csrf):
    browser = world.signed_in()
    assert browser.post("/registries/payments/main/do/rotate", {"csrf": csrf}).status == 403
    assert "requests/payments/main" not in world.vault.kv.paths()


def test_the_csrf_token_of_another_session_is_refused(world):
    one, two = world.signed_in(), world.signed_in()
    csrf = one.get("/registries/payments/main").csrf
    assert two.post("/registries/payments/main/do/rotate", {"csrf": csrf}).status == 403


def test_form_values_are_restored_after_the_session_ended(world):
    browser = world.signed_in()
    csrf = browser.get(f"{ADD}?provider=basic").csrf
    world.vault.tokens.clear()
    typed = {
        "csrf": csrf,
        "provider": "basic",
        "project": "payments",
        "registry": "new",
        "hosts": "registry.example.com",
        "secret.username": "robot-user",
        "secret.password": "top-secret",
    }
    answer = browser.post(ADD, typed)
    assert answer.status == 401
    assert "Your input is kept" in answer.text
    assert "top-secret" not in answer.text
    browser.sign_in()
    form = browser.get(f"{ADD}?provider=basic").text
    assert 'value="new"' in form
    assert "registry.example.com</textarea>" in form
    assert "top-secret" not in form
    assert "robot-user" not in form
    assert 'value="new"' not in browser.get(f"{ADD}?provider=basic").text


def test_form_values_are_never_restored_for_another_user(world):
    browser = world.signed_in()
    csrf = browser.get(f"{ADD}?provider=basic").csrf
    world.vault.tokens.clear()
    browser.post(ADD, {"csrf": csrf, "provider": "basic", "registry": "of-alice"})
    browser.sign_in("bob")
    assert "of-alice" not in browser.get(f"{ADD}?provider=basic").text


def test_form_values_that_are_too_long_to_keep_are_shown(world):
    browser = world.signed_in()
    csrf = browser.get("/explain").csrf
    world.vault.tokens.clear()
    answer = browser.post("/explain", {"csrf": csrf, "text": "x" * 9000})
    assert answer.status == 401
    assert "x" * 9000 in answer.text


def test_form_values_from_another_site_are_not_kept(world):
    browser = world.browser()
    browser.post(
        ADD, {"registry": "planted"}, origin="https://evil.example.com", **{"sec-fetch-site": "cross-site"}
    )
    browser.sign_in()
    assert "planted" not in browser.get(f"{ADD}?provider=basic").text


@pytest.mark.parametrize(
    "error", [TransientError("Vault: the server is sealed"), TransientError("Vault: did not answer in time")]
)
def test_while_vault_is_down_a_form_keeps_its_values(world, error):
    browser = world.signed_in()
    csrf = browser.get(f"{ADD}?provider=basic").csrf
    world.vault.failing = error
    fields = {"csrf": csrf, "provider": "basic", "registry": "typed-name", "secret.password": "top-secret"}
    answer = browser.post(ADD, fields)
    assert answer.status == 503
    assert str(error) in answer.text
    assert 'name="registry" value="typed-name"' in answer.text
    assert "top-secret" not in answer.text


def test_while_vault_is_down_the_sign_in_page_does_not_blame_the_password(world):
    world.vault.failing = TransientError("Vault: the server is sealed")
    answer = world.browser().sign_in()
    assert answer.status == 503
    assert "Vault did not check your input" in answer.text


OUTSIDE = [
    "https://evil.example.com",
    "//evil.example.com",
    "/\\evil.example.com",
    "/\t/evil.example.com",
    "javascript:alert(1)",
    "/%0d%0aSet-Cookie:x=y\r\nX: y",
    "https:evil.example.com",
    "\\\\evil.example.com",
    "/sign-out",
]


@pytest.mark.parametrize("target", OUTSIDE)
def test_after_signing_in_no_redirect_leaves_the_console(world, target):
    assert guard.local_path(target) == "/"
    browser = world.browser()
    form = browser.get("/sign-in?next=" + quote(target, safe=""))
    fields = {"csrf": form.csrf, "method": "1", "username": "alice", "password": "right", "next": target}
    assert browser.post("/sign-in", fields).header("location") == "/"
    assert browser.get("/sign-in?next=" + quote(target, safe="")).header("location") == "/"


def test_single_sign_on_accepts_only_an_answer_to_a_sign_in_of_this_browser(world):
    browser = world.browser()
    assert browser.get("/sign-in/oidc/callback?state=st_1&code=good").status == 403
    assert (
        browser.get("/sign-in/oidc?method=0&next=/clusters")
        .header("location")
        .startswith("https://idp.example.com")
    )
    assert browser.get("/sign-in/oidc/callback?state=st_2&code=good").status == 403
    assert SESSION not in browser.cookies
    answer = browser.get("/sign-in/oidc/callback?state=st_1&code=good")
    assert answer.header("location") == "/clusters"
    assert SESSION in browser.cookies


def test_an_answer_of_the_identity_provider_is_accepted_once(world):
    browser = world.browser()
    browser.get("/sign-in/oidc?method=0")
    browser.get("/sign-in/oidc/callback?state=st_1&code=good")
    browser.cookies.pop(SESSION)
    assert browser.get("/sign-in/oidc/callback?state=st_1&code=good").status == 403


def test_a_late_answer_of_the_identity_provider_is_refused(world):
    browser = world.browser()
    browser.get("/sign-in/oidc?method=0")
    world.now += timedelta(minutes=16)
    assert browser.get("/sign-in/oidc/callback?state=st_1&code=good").status == 403
    assert SESSION not in browser.cookies


def test_a_refusal_of_the_identity_provider_is_reported(world):
    browser = world.browser()
    browser.get("/sign-in/oidc?method=0")
    answer = browser.get(
        "/sign-in/oidc/callback?state=st_1&error=access_denied&error_description=<script>x</script>"
    )
    assert answer.status == 403
    assert "refused the sign-in" in answer.text
    assert "<script>x" not in answer.text


def test_a_token_that_expires_soon_is_renewed_while_its_session_is_used(world):
    browser = world.signed_in()
    token = next(iter(world.vault.tokens))
    world.vault.tokens[token] = Who(
        "alice", "", frozenset(), timedelta(minutes=5), created_ttl=timedelta(hours=1), renewable=True
    )
    browser.get("/")
    assert world.vault.renewed == [token]


class ChangingKeys:
    """Sealing keys that a test can replace; ``newer`` are those that a reload returns."""

    def __init__(self):
        self.now = [Fernet.generate_key()]
        self.newer = self.now
        self.reloads = 0

    def all(self):
        return self.now

    def reload(self):
        self.reloads += 1
        changed = self.now != self.newer
        self.now = self.newer
        return changed


def test_a_new_sealing_key_ends_no_session():
    changing = ChangingKeys()
    world = World(keys=changing)
    browser = world.signed_in()
    changing.now = changing.newer = [Fernet.generate_key(), *changing.now]
    assert browser.get("/").status == 200
    world.now += timedelta(minutes=2)
    browser.get("/")
    changing.now = changing.newer = changing.now[:1]
    assert browser.get("/").status == 200, "the console has sealed the cookie with the new key"


def test_a_cookie_sealed_with_another_instances_new_key_is_accepted():
    changing = ChangingKeys()
    world = World(keys=changing)
    changing.newer = [Fernet.generate_key(), *changing.now]
    other = ChangingKeys()
    other.now = other.newer = changing.newer
    browser = world.browser()
    browser.cookies = World(vault=world.vault, keys=other).signed_in().cookies
    assert browser.get("/").status == 200


def vault_keys(kv, clock):
    return sealing_keys.VaultKeys(kv, lambda: clock[0], longest=timedelta(hours=10))


def test_the_sealing_key_is_created_once_and_shared_by_all_instances():
    kv, clock = FakeKeyValue(), [NOW]
    first, second = vault_keys(kv, clock), vault_keys(kv, clock)
    assert first.all() == second.all()
    assert len(first.all()) == 1


def test_an_old_sealing_key_stays_as_long_as_a_session_can_last():
    kv, clock = FakeKeyValue(), [NOW]
    held = vault_keys(kv, clock)
    old = held.all()[0]
    clock[0] += sealing_keys.LIFE
    assert held.all()[1:] == [old]
    clock[0] += timedelta(hours=11)
    assert old not in held.all()


def test_sealing_keys_are_cached_while_vault_is_down():
    kv, clock = FakeKeyValue(), [NOW]
    held = vault_keys(kv, clock)
    before = held.all()
    kv.sealed = True
    clock[0] += timedelta(hours=1)
    assert held.all() == before


def test_invalid_cookies_do_not_cause_a_vault_request_each_time():
    kv, clock = FakeKeyValue(), [NOW]
    seal = Seal(vault_keys(kv, clock))
    seal.open("session", "A" * 100)
    calls = len(kv.calls)
    for _ in range(50):
        seal.open("session", "A" * 100)
    assert len(kv.calls) == calls


def test_the_sealing_keys_are_in_no_repr():
    kv, clock = FakeKeyValue(), [NOW]
    key = vault_keys(kv, clock).all()[0].decode()
    document = kv.read(sealing_keys.PATH)
    assert document is not None
    assert key not in repr(sealing_keys.Sealing.parse(document.fields, path=sealing_keys.PATH))


def test_a_denied_registry_looks_like_a_missing_one(world):
    browser = world.signed_in()
    missing = browser.get("/registries/payments/none")
    world.vault.kv.faults[("read", "registries/search")] = RefusedError("no")
    for operation in ("read", "version", "list"):
        for folder in ("registries/search", "credentials/search", "platform/projects/search"):
            world.vault.kv.faults[(operation, folder)] = RefusedError("no")
    other = browser.get("/registries/search/harbor")
    assert (missing.status, other.status) == (404, 404)
    assert _without_csrf(missing) == _without_csrf(other)
    assert _without_csrf(browser.get("/registries/a/b/c")) == _without_csrf(other)


def _without_csrf(answer):
    return answer.text.replace(answer.csrf, "")


HEADERS = [
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "strict-transport-security",
]


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/registries", "/no/such/page", "/healthz", "/static/x/app.css"]
)
def test_each_answer_has_the_security_headers(world, path):
    for browser in (world.browser(), world.signed_in()):
        answer = browser.get(path)
        assert all(answer.header(name) for name in HEADERS), path
        policy = answer.header("content-security-policy")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy


def test_pages_are_never_cached_and_static_files_are(world):
    browser = world.signed_in()
    page = browser.get("/")
    assert page.header("cache-control") == "no-store"
    path = page.text.split('href="/static/')[1].split('"')[0]
    assert "immutable" in browser.get(f"/static/{path}").header("cache-control")


def test_another_host_name_is_refused(world):
    browser = world.signed_in()
    browser.host = "evil.example.com"
    assert browser.get("/").status == 421


def test_no_page_has_inline_script_or_style(world):
    browser = world.signed_in()
    for path in (
        "/",
        "/registries",
        "/registries/payments/main",
        "/registries/add?provider=ecr",
        "/explain",
        "/clusters",
    ):
        text = browser.get(path).text
        assert " style=" not in text
        assert "<style" not in text
        assert "onclick" not in text
        assert text.count("<script") == text.count('<script src="/static/')


def test_a_body_that_is_too_long_is_refused(world):
    browser = world.signed_in()
    answer = browser.post("/explain", {"text": "x" * 200_000})
    assert answer.status == 413


@pytest.mark.parametrize("body", [b"a=%ff", b"=&&&" * 600, b"\xff\xfe", b"a=b\x00"])
def test_a_malformed_form_is_refused(world, body):
    browser = world.signed_in()
    sent = {"content-type": "application/x-www-form-urlencoded", "origin": ORIGIN}
    assert browser.send("POST", "/explain", body, headers=sent).status in {400, 403}


def test_other_content_types_are_refused(world):
    browser = world.signed_in()
    for kind in ("multipart/form-data; boundary=x", "text/plain", "application/json", ""):
        headers = {"content-type": kind, "origin": ORIGIN}
        assert browser.send("POST", "/explain", b"a=b", headers=headers).status == 400


def test_an_unexpected_exception_is_reported_without_its_text(world, monkeypatch):
    def broken(_visit):
        raise ValueError("password=hunter2")

    browser = world.signed_in()
    monkeypatch.setattr("regcred.console.console.Visit.fleet", broken)
    answer = browser.get("/")
    assert answer.status == 500
    assert "hunter2" not in answer.text + repr(world.log)
    assert "ValueError" in repr(world.log)
