import pytest

from tools import demonstrations


@pytest.mark.parametrize("name", demonstrations.DOCUMENTS)
def test_the_document_equals_the_rendered_source(name):
    text = (demonstrations.DOCS / name).read_text(encoding="utf-8")
    assert text == demonstrations.documents()[name], "run make docs"


def test_render_keeps_one_language_and_the_parts_of_both():
    source = "a\n<!-- en -->\nwater\n<!-- es -->\nagua\n<!-- both -->\nb\n"
    assert demonstrations.render(source, "en") == "a\nwater\nb\n"
    assert demonstrations.render(source, "es") == "a\nagua\nb\n"
