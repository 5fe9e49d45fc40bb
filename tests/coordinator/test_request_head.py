"""coordinator/http/head.py: models, require, optional and timeout, from query and head."""

import pytest
from aiohttp.test_utils import make_mocked_request

from coordinator.errors import InvalidParameter
from coordinator.http.head import Callers, Timeouts, only_timeout, read_timeout, wanted_refs
from coordinator.router import ModelRef

TIMEOUTS = Timeouts(default=30.0, maximum=300.0)


def wanted(query: str, **headers: str):
    request = make_mocked_request(
        "POST", f"/analyze{query}", {name.replace("_", "-"): v for name, v in headers.items()}
    )
    return wanted_refs(request, TIMEOUTS)


def test_a_request_that_does_not_say_gets_the_defaults():
    assert wanted("") == ((), (), (), 30.0)


def test_models_are_named_with_versions_and_aliases():
    asked = wanted("?models=tagger,aesthetics@2,caption@1.3.0,tagger@canary")

    assert asked.models == (
        ModelRef("tagger"),
        ModelRef("aesthetics", "2"),
        ModelRef("caption", "1.3.0"),
        ModelRef("tagger", "canary"),
    )


def test_models_may_be_given_several_times_and_count_once():
    assert [str(ref) for ref in wanted("?models=a,%20b&models=a&models=c").models] == [
        "a",
        "b",
        "c",
    ]


def test_required_models_are_names():
    assert wanted("?models=tagger@2,caption&require=tagger").require == ("tagger",)
    assert wanted("?require=tagger").require == ("tagger",)


def test_optional_models_are_names():
    assert wanted("?models=a,b@2,c&optional=b,%20c&optional=b").optional == ("b", "c")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?models=", "models"),
        ("?models=a,,b", "models"),
        ("?models=Tagger", "models"),
        ("?models=a@", "models"),
        ("?models=../etc", "models"),
        ("?model=a", "model"),
        ("?timeout=0", "timeout"),
        ("?timeout=-1", "timeout"),
        ("?timeout=nan", "timeout"),
        ("?timeout=inf", "timeout"),
        ("?timeout=1_0", "timeout"),
        ("?timeout=5s", "timeout"),
        ("?timeout=", "timeout"),
        ("?timeout=%D9%A3", "timeout"),
        ("?timeout=300.5", "timeout"),
    ],
)
def test_what_is_not_accepted_is_refused_by_name(query, field):
    with pytest.raises(InvalidParameter) as refusal:
        wanted(query)
    assert refusal.value.field == field


@pytest.mark.parametrize(("text", "seconds"), [("2.5", 2.5), ("300", 300.0), ("1e-3", 0.001)])
def test_the_timeout_is_seconds_from_the_query_or_the_header(text, seconds):
    assert wanted(f"?timeout={text}").timeout == seconds
    assert wanted("", Demitasse_Timeout=text).timeout == seconds


def test_the_query_goes_before_the_header():
    assert wanted("?timeout=2", Demitasse_Timeout="3").timeout == 2.0


def test_a_bad_header_is_named():
    request = make_mocked_request("POST", "/", {"Demitasse-Timeout": "soon"})

    with pytest.raises(InvalidParameter) as refusal:
        read_timeout(request, TIMEOUTS)
    assert refusal.value.field == "Demitasse-Timeout"


def test_a_route_for_one_model_refuses_every_parameter_but_timeout():
    pinned = make_mocked_request("POST", "/models/noop/infer?version=9.9.9")
    hurried = make_mocked_request("POST", "/models/noop/infer?timeout=2")

    with pytest.raises(InvalidParameter) as refused:
        only_timeout(pinned, TIMEOUTS)

    assert refused.value.field == "version"
    assert only_timeout(hurried, TIMEOUTS) == 2.0


# For whom.


def test_a_caller_is_known_by_its_name_and_else_by_its_address():
    callers = Callers({})

    named, again = (callers.flow(None, "app", address) for address in ("10.0.0.1", "10.0.0.2"))
    here, there = (callers.flow(None, None, address) for address in ("10.0.0.1", "10.0.0.2"))

    assert named == again
    assert len({named, here, there}) == 3


@pytest.mark.parametrize(
    ("urgency", "rank"), [(None, 0), ("interactive", 0), ("bulk", 1), ("shadow", 2)]
)
def test_classes_have_ranks(urgency, rank):
    assert Callers({}).flow(urgency, "app", "").rank == rank


def test_a_caller_has_the_weight_that_was_configured():
    callers = Callers({"nightly": 0.2})

    assert callers.flow(None, "nightly", "").weight == 0.2
    assert callers.flow(None, "app", "").weight == 1.0


@pytest.mark.parametrize("urgency", ["", "urgent", "Bulk", "bulk,shadow"])
def test_a_class_that_is_not_there_is_refused(urgency):
    with pytest.raises(InvalidParameter, match="interactive, bulk, shadow") as refused:
        Callers({}).flow(urgency, None, "")

    assert refused.value.field == "Demitasse-Class"


@pytest.mark.parametrize("caller", ["", "a b", "a" * 65, "\u00fc", "a/b", "a\n"])
def test_a_callers_name_that_is_none_is_refused(caller):
    with pytest.raises(InvalidParameter) as refused:
        Callers({}).flow(None, caller, "")

    assert refused.value.field == "Demitasse-Caller"


def test_the_head_of_any_request_says_for_whom_it_is():
    head = {"Demitasse-Class": "shadow", "Demitasse-Caller": "app"}
    request = make_mocked_request("POST", "/analyze", head)

    assert Callers({}).of(request) == Callers({}).flow("shadow", "app", "")
