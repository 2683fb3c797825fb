"""Source of the base images in `offline/prepare`: Compose while a registry answers, stand-ins otherwise."""

import time

import pytest

from tests.unit.offline.machine import IMAGES, NO_HOST

PYTHON, POSTGRES, REDIS, KAFKA, KAFKA_UI = IMAGES.values()
ALL = " ".join(IMAGES.values())


def failure_file(machine):
    return machine.cache / "registry-unavailable"


# --- Images are missing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [0, 1000])
def test_one_image_is_pulled_to_probe_the_registry(machine, user):
    machine.user(user)
    machine.lack()
    result = machine.run()
    assert (result.code, result.changes) == (0, [f"docker pull {PYTHON}"])
    assert "Pulling from python" in result.output


def test_the_probe_pulls_a_missing_image(machine):
    machine.lack(REDIS, KAFKA)
    assert machine.run().pulls == [REDIS]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_failed_pull_of_a_user_ends_with_the_error_of_docker_and_advice(machine, terminal):
    machine.user(1000)
    machine.lack()
    machine.cut_registry()
    result = machine.run_at_terminal("y\n") if terminal else machine.run()
    assert (result.code, result.changes) == (1, [f"docker pull {PYTHON}"])
    assert NO_HOST + "\n" in result.output
    assert f"{PYTHON} cannot be pulled. Check the network, Docker's proxy settings and docker login" in result.output
    assert "Continue?" not in result.output


def test_no_stand_in_is_offered_on_macos(machine):
    machine.system("Darwin")
    machine.without("apt-get")
    machine.user(501)
    machine.lack()
    machine.cut_registry()
    result = machine.run()
    assert result.code == 1
    assert NO_HOST in result.output
    assert "stand-in" not in result.output


def test_stand_ins_are_built_on_debian_as_root_without_a_terminal(machine):
    machine.lack()
    machine.cut_registry()
    result = machine.run()
    assert (result.code, result.changes) == (0, [f"docker pull {PYTHON}", f"stand-ins {ALL}"])
    error, plan, in_use = (result.output.index(text) for text in (NO_HOST, "Next: build stand-ins", "stand-ins in use"))
    assert error < plan < in_use
    assert f"stand-ins in use, not the official images: {ALL}\n" in result.output


def test_the_plan_names_the_package_that_it_installs(machine):
    machine.without("mmdebstrap")
    machine.lack()
    machine.cut_registry()
    assert "Next: apt-get install mmdebstrap, then build stand-ins for" in machine.run().output


def test_only_missing_images_get_a_stand_in(machine):
    machine.lack(KAFKA_UI)
    machine.cut_registry()
    result = machine.run()
    assert result.changes == [f"docker pull {KAFKA_UI}", f"stand-ins {KAFKA_UI}"]
    assert f"not the official images: {KAFKA_UI}\n" in result.output


def test_stand_ins_are_built_at_a_terminal_after_a_yes(machine):
    machine.lack()
    machine.cut_registry()
    result = machine.run_at_terminal("y\n")
    assert (result.code, result.changes[1:]) == (0, [f"stand-ins {ALL}"])
    assert "Continue? [y/N]" in result.output


@pytest.mark.parametrize("answer", ["n\n", "\n"], ids=["no", "empty"])
def test_no_stand_in_is_built_at_a_terminal_without_a_yes(machine, answer):
    machine.lack()
    machine.cut_registry()
    result = machine.run_at_terminal(answer)
    assert (result.code, result.changes) == (1, [f"docker pull {PYTHON}"])
    assert "nothing was changed. Check the network" in result.output


def test_stand_ins_are_built_when_the_registry_does_not_answer(machine):
    machine.lack()
    machine.set_state("silent", "")
    started = time.monotonic()
    result = machine.run(OFFLINE_PROBE_TIMEOUT="1")
    assert time.monotonic() - started < 10
    assert (result.code, result.changes[1:]) == (0, [f"stand-ins {ALL}"])
    assert "no answer within 1 s" in result.output


def test_a_slow_pull_is_not_cut_off_once_the_registry_answers(machine):
    machine.lack(REDIS)
    machine.set_state("slow", "")
    started = time.monotonic()
    result = machine.run(OFFLINE_PROBE_TIMEOUT="1")
    assert time.monotonic() - started > 3
    assert (result.code, result.changes) == (0, [f"docker pull {REDIS}"])


def test_no_temporary_files_of_a_failed_pull_remain(machine):
    machine.lack()
    machine.cut_registry()
    machine.run()
    assert list((machine.root / "tmp").iterdir()) == []


# --- OFFLINE ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True])
def test_offline_1_builds_stand_ins_without_a_pull_and_without_asking(machine, terminal):
    machine.lack()
    result = machine.run_at_terminal("", OFFLINE="1") if terminal else machine.run(OFFLINE="1")
    assert (result.code, result.changes) == (0, [f"stand-ins {ALL}"])
    assert "Continue?" not in result.output


def test_offline_1_keeps_stand_ins_in_use(machine):
    machine.have_stand_ins()
    result = machine.run(OFFLINE="1")
    assert (result.code, result.changes) == (0, [])
    assert f"stand-ins in use, not the official images: {ALL}\n" in result.output


@pytest.mark.parametrize("user", [0, 1000])
def test_offline_1_fails_with_advice_where_stand_ins_cannot_be_built(machine, user):
    machine.user(user)
    if not user:
        machine.without("apt-get")
    machine.lack()
    result = machine.run(OFFLINE="1")
    assert (result.code, result.changes) == (1, [])
    assert "can only be built on Debian or Ubuntu, as root" in result.output


def test_offline_0_forbids_stand_ins_for_missing_images(machine):
    machine.lack()
    machine.cut_registry()
    result = machine.run(OFFLINE="0")
    assert (result.code, result.changes) == (1, [f"docker pull {PYTHON}"])
    assert "OFFLINE=0 forbids a stand-in" in result.output


def test_offline_0_forbids_stand_ins_in_use(machine):
    machine.have_stand_ins(REDIS)
    machine.cut_registry()
    result = machine.run(OFFLINE="0")
    assert (result.code, result.pulls) == (1, [REDIS])
    assert "OFFLINE=0 forbids a stand-in" in result.output


def test_stand_ins_with_a_prefix_do_not_replace_the_images_in_use(machine):
    machine.have_stand_ins()
    result = machine.run(STAND_IN_PREFIX="try/")
    assert result.changes == [f"stand-ins {ALL}"]


# --- Stand-ins are in use --------------------------------------------------------------------------------------------


def test_stand_ins_are_replaced_once_a_registry_answers(machine):
    machine.have_stand_ins()
    result = machine.run()
    assert (result.code, result.pulls) == (0, list(IMAGES.values()))
    assert f"official images have replaced the stand-ins: {ALL}\n" in result.output
    assert "in use, not" not in result.output
    assert machine.run().output == ""


def test_stand_ins_are_replaced_when_a_missing_image_can_be_pulled(machine):
    machine.have_stand_ins(POSTGRES)
    machine.lack(PYTHON, REDIS)
    result = machine.run()
    assert result.pulls == [PYTHON, POSTGRES]


def test_stand_ins_stay_when_a_missing_image_cannot_be_pulled(machine):
    machine.have_stand_ins(POSTGRES)
    machine.lack(REDIS)
    machine.cut_registry()
    result = machine.run()
    assert result.changes == [f"docker pull {REDIS}", f"stand-ins {REDIS}"]
    assert f"not the official images: {POSTGRES} {REDIS}\n" in result.output


def test_stand_ins_stay_in_use_without_a_registry(machine):
    machine.have_stand_ins()
    machine.cut_registry()
    result = machine.run()
    assert (result.code, result.changes) == (0, [f"docker pull {PYTHON}"])
    assert NO_HOST in result.output
    assert f"stand-ins in use, not the official images: {ALL}\n" in result.output


def test_stand_ins_that_cannot_be_replaced_stay_and_are_listed(machine):
    machine.have_stand_ins(PYTHON, REDIS, KAFKA_UI)
    machine.cut_registry(REDIS)
    result = machine.run()
    assert (result.code, result.pulls) == (0, [PYTHON, REDIS])
    assert f"official images have replaced the stand-ins: {PYTHON}\n" in result.output
    assert f"not the official images: {REDIS} {KAFKA_UI}\n" in result.output


def test_a_registry_that_failed_is_not_tried_again_for_an_hour(machine):
    machine.have_stand_ins()
    machine.cut_registry()
    machine.run()
    second = machine.run()
    assert (second.code, second.changes) == (0, [])
    assert second.output == f"prepare: stand-ins in use, not the official images: {ALL}\n"


@pytest.mark.parametrize("age", [3601, -3600], ids=["an hour ago", "in the future"])
def test_a_registry_is_tried_again_after_an_hour(machine, age):
    machine.have_stand_ins()
    machine.cache.mkdir(parents=True)
    failure_file(machine).write_text(f"{int(time.time()) - age}\n")
    assert machine.run().pulls == list(IMAGES.values())
    assert not failure_file(machine).exists()


@pytest.mark.parametrize("text", ["", "soon\n"])
def test_an_unreadable_record_of_a_failure_is_ignored(machine, text):
    machine.have_stand_ins(REDIS)
    machine.cache.mkdir(parents=True)
    failure_file(machine).write_text(text)
    assert machine.run().pulls == [REDIS]


def test_offline_0_tries_a_registry_that_has_just_failed(machine):
    machine.have_stand_ins(REDIS)
    machine.cut_registry()
    machine.run()
    machine.remove_state("pull-error")
    result = machine.run(OFFLINE="0")
    assert (result.code, result.pulls) == (0, [REDIS])


def test_a_missing_image_is_tried_although_the_registry_has_just_failed(machine):
    machine.have_stand_ins(PYTHON)
    machine.cut_registry()
    machine.run()
    machine.lack(REDIS)
    assert REDIS in machine.run().pulls


def test_the_registry_is_not_tried_again_right_after_building_stand_ins(machine):
    machine.lack()
    machine.cut_registry()
    machine.run()
    assert machine.run().changes == []


def test_an_unreachable_registry_costs_at_most_12_s_with_stand_ins_in_use(machine):
    machine.have_stand_ins()
    machine.set_state("silent", "")
    started = time.monotonic()
    result = machine.run()
    assert time.monotonic() - started < 12
    assert result.code == 0
    assert "no answer within 5 s" in result.output


def test_a_failure_is_recorded_in_the_cache_folder_of_the_user(machine):
    machine.user(1000)
    machine.have_stand_ins()
    machine.cut_registry()
    machine.run()
    assert (machine.root / "home/.cache/askfleet-offline/registry-unavailable").exists()
    assert not machine.cache.exists()
    assert machine.run().pulls == []


def test_a_cache_folder_that_cannot_be_written_is_not_an_error(machine):
    machine.have_stand_ins()
    machine.cut_registry()
    for _ in range(2):
        result = machine.run(OFFLINE_CACHE="/dev/null/cache")
        assert (result.code, result.pulls) == (0, [PYTHON])
        assert "/dev/null" not in result.output


# --- Settings of the user --------------------------------------------------------------------------------------------


def test_an_image_configured_by_the_user_is_left_to_compose(machine):
    machine.settings(**{**IMAGES, "POSTGRES_IMAGE": "mirror.example/postgres:17"})
    machine.lack(POSTGRES)
    machine.cut_registry()
    result = machine.run()
    assert (result.code, result.output, result.changes) == (0, "", [])


def test_an_environment_variable_overrides_the_env_file(machine):
    machine.lack(POSTGRES)
    machine.cut_registry()
    result = machine.run(POSTGRES_IMAGE="mirror.example/postgres:17")
    assert (result.code, result.output, result.changes) == (0, "", [])


@pytest.mark.parametrize("value", ["'redis:8'", '"redis:8"', "redis:8 # the cache", "redis:8\r"])
def test_quotes_and_comments_in_the_env_file_are_read_as_by_compose(machine, value):
    machine.settings(REDIS_IMAGE=value)
    machine.lack(REDIS)
    assert machine.run().pulls == [REDIS]


# --- Architectures ---------------------------------------------------------------------------------------------------


def test_an_image_of_another_architecture_is_reported_with_a_remedy(machine):
    machine.have(POSTGRES, architecture="arm64")
    result = machine.run(DOCKER_DEFAULT_PLATFORM="linux/amd64")
    assert (result.code, result.changes) == (0, [])
    assert (
        f"{POSTGRES} is there for arm64, but DOCKER_DEFAULT_PLATFORM is linux/amd64: "
        f"docker pull --platform linux/amd64 {POSTGRES}, or unset the variable" in result.output
    )
    assert result.output.count("is there for") == 1


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/x86_64", "amd64", "linux/amd64/v2"])
def test_images_of_the_requested_architecture_are_not_reported(machine, platform):
    assert machine.run(DOCKER_DEFAULT_PLATFORM=platform).output == ""


def test_an_image_that_exists_for_both_architectures_is_not_reported(machine):
    machine.have(POSTGRES, architecture="arm64")
    machine.set_state("platforms", "")
    assert machine.run(DOCKER_DEFAULT_PLATFORM="linux/amd64").output == ""


def test_the_platform_is_read_from_the_env_file_too(machine):
    machine.settings(**IMAGES, DOCKER_DEFAULT_PLATFORM="linux/arm64/v8")
    assert "DOCKER_DEFAULT_PLATFORM is linux/arm64/v8" in machine.run().output
