"""What each parameter of the presence module changes in a decision (peers.md sections 3.1, 3.3 and 4.1)."""

from typing import Any

import pytest

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict, conclude_publish, plan_publish
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict, conclude_subscribe, plan_subscribe
from presence_core.settings import CoreSettings
from tests.integration.calls import publish, subscribe
from vedette.rpc.contract import Reply


def policy(**fields: Any) -> Policy:
    return Policy(secret=b"s" * 32, **fields)


def published(rules: Policy, **fields: Any) -> PublishCommand | Reply:
    return plan_publish(publish(**fields), rules)


def subscribed(rules: Policy, **fields: Any) -> SubscribeCommand | Reply:
    return plan_subscribe(subscribe(**fields), rules)


def seconds(plan: PublishCommand | SubscribeCommand | Reply) -> int:
    assert not isinstance(plan, Reply)
    return plan.expires


@pytest.mark.parametrize(
    ("settings", "for_publish", "for_subscribe"),
    [
        ({}, 3600, 3600),
        ({"max_expires": 100}, 100, 100),
        ({"max_expires": 100, "max_expires_publish": 50}, 50, 100),
        ({"max_expires": 100, "max_expires_subscribe": 7200}, 100, 7200),
        ({"max_expires_publish": 50, "max_expires_subscribe": 60}, 50, 60),
    ],
)
def test_max_expires_and_its_two_kinds(settings: dict[str, Any], for_publish: int, for_subscribe: int) -> None:
    rules = CoreSettings(**settings).policy(b"s" * 32)
    assert seconds(published(rules, expires=100_000)) == for_publish
    assert seconds(subscribed(rules, expires=100_000)) == for_subscribe
    assert seconds(published(rules, expires=None)) == min(3600, for_publish)
    assert seconds(subscribed(rules, expires=None)) == min(3600, for_subscribe)


@pytest.mark.parametrize("plan", [published, subscribed])
def test_min_expires_action_1_refuses_and_2_raises(plan: Any) -> None:
    refused = plan(policy(min_expires=60), expires=59)
    assert (refused.status, refused.headers) == (423, [("Min-Expires", "60")])
    assert seconds(plan(policy(min_expires=60, raise_brief=True), expires=59)) == 60
    assert seconds(plan(policy(min_expires=60, raise_brief=True), expires=61)) == 61


@pytest.mark.parametrize("plan", [published, subscribed])
def test_min_expires_above_what_is_granted_at_most_refuses_nobody_what_it_got(plan: Any) -> None:
    rules = policy(min_expires=300, max_expires_publish=60, max_expires_subscribe=60)
    assert seconds(plan(rules, expires=60)) == 60
    refused = plan(rules, expires=59)
    assert (refused.status, refused.headers) == (423, [("Min-Expires", "60")])


def test_min_expires_action_2_raises_no_removal_and_no_fetch() -> None:
    rules = policy(min_expires=60, raise_brief=True)
    removal = published(rules, etag="00" * 16 + ".1", expires=0)
    assert seconds(removal) == 0
    assert seconds(subscribed(rules, expires=0)) == 0


@pytest.mark.parametrize(
    ("granted", "offset", "told"), [(600, 0, 600), (600, 20, 580), (600, 600, 1), (5, 20, 1), (1, 20, 1), (0, 20, 0)]
)
def test_expires_offset_is_taken_from_what_a_publisher_is_told(granted: int, offset: int, told: int) -> None:
    command = published(policy())
    assert isinstance(command, PublishCommand)
    reply = conclude_publish(command, PublishVerdict("created", 1, granted, 0.0), policy(expires_offset=offset))
    assert dict(reply.headers)["Expires"] == str(told)


@pytest.mark.parametrize(
    ("sip_uri_match", "presentity"), [(False, "sip:Alice@example.com"), (True, "sip:alice@example.com")]
)
def test_sip_uri_match_compares_users_without_regard_to_case(*, sip_uri_match: bool, presentity: str) -> None:
    rules = policy(sip_uri_match=sip_uri_match)
    plan = published(rules, uri="sip:Alice@EXAMPLE.com:5060")
    assert isinstance(plan, PublishCommand)
    assert plan.presentity.uri == presentity
    watching = subscribed(rules, uri="sip:Alice@Example.COM")
    assert isinstance(watching, SubscribeCommand)
    assert (watching.presentity_uri, watching.presentity_hash) == (presentity, plan.presentity.hash)


@pytest.mark.parametrize(
    ("sender", "stored"),
    [
        (None, None),
        ("", None),
        ("sip:bob@192.0.2.7:5060", "sip:bob@192.0.2.7:5060"),
        ('"Bob" <sip:bob@192.0.2.7;transport=tcp>;tag=1', "sip:bob@192.0.2.7"),
    ],
)
def test_sender_of_a_publish(sender: str | None, stored: str | None) -> None:
    plan = published(policy(), sender=sender)
    assert isinstance(plan, PublishCommand)
    assert plan.sender == stored


@pytest.mark.parametrize("sender", ["<sip:bob@", "no uri at all"])
def test_a_sender_that_is_no_uri_gets_400(sender: str) -> None:
    plan = published(policy(), sender=sender)
    assert isinstance(plan, Reply)
    assert plan.status == 400


@pytest.mark.parametrize(("word", "reason"), [("too_many_watchers", "watchers"), ("too_many_subscriptions", "subsc")])
def test_quotas_of_subscribe_get_403(word: str, reason: str) -> None:
    command = subscribed(policy())
    assert isinstance(command, SubscribeCommand)
    reply = conclude_subscribe(command, SubscribeVerdict(word, 0), policy())
    assert reply.status == 403
    assert reason in reply.reason


def test_quota_of_publish_gets_403() -> None:
    command = published(policy())
    assert isinstance(command, PublishCommand)
    assert conclude_publish(command, PublishVerdict("too_many", 0, 0, 0.0), policy()).status == 403


@pytest.mark.parametrize(
    ("setting", "event", "status"),
    [(0, "presence", 200), (0, "presence.winfo", 202), (1, "presence", 200), (1, "presence.winfo", 200)],
)
@pytest.mark.parametrize("word", ["created", "fetched", "refreshed", "ended", "replayed"])
def test_sub_01_parameter_subs_respond_200(setting: int, event: str, status: int, word: str) -> None:
    rules = CoreSettings(subs_respond_200=setting).policy(b"s" * 32)
    command = subscribed(rules, event=event)
    assert isinstance(command, SubscribeCommand)
    assert conclude_subscribe(command, SubscribeVerdict(word, 600), rules).status == status


def test_parameter_waiting_subs_daysno_has_the_originals_default() -> None:
    assert CoreSettings().policy(b"s" * 32).waiting_days == 3
    assert CoreSettings(waiting_subs_daysno=30).policy(b"s" * 32).waiting_days == 30


def test_win_03_watcher_information_has_one_media_type_and_win_01_a_package_of_ours() -> None:
    command = subscribed(policy(), event="presence.winfo")
    assert isinstance(command, SubscribeCommand)
    assert (command.accept, command.expires) == ("application/watcherinfo+xml", 3600)
    refused = subscribed(policy(), event="presence.winfo", accept=["application/pidf+xml"])
    assert isinstance(refused, Reply)
    assert (refused.status, refused.headers) == (406, [("Accept", "application/watcherinfo+xml")])
    unheard = subscribed(policy(), event="foo.winfo")
    assert isinstance(unheard, Reply)
    assert unheard.status == 489
