from cases_lint import STD, decoder, edited, linted, named, redraw_writers


def test_a_stream_that_grows_is_noted_and_a_level_one_is_not():
    report = linted(edited(lambda i, layer: redraw_writers(layer, 8 * STD, i)))
    assert named(report, "growth", "note") == [None]
    assert next(f.number for f in report.findings if f.rule == "growth") > 3
    assert named(linted(decoder()), "growth", "note") == []
