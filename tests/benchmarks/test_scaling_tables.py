"""Tables and pictures of views and devices, from rows that were kept."""

from benchmarks import devices, streaming


def test_streaming_is_drawn_from_its_rows(tmp_path, monkeypatch, capsys):
    rows = [streaming.Cost(kind, n, 64, 200.0, 264.0, 1.0, 2.0, 0.9) for kind in streaming.KINDS for n in (25, 100)]
    monkeypatch.setattr(streaming, "measure", lambda side, sizes, steps: rows)
    kept, first, again, results = (tmp_path / name for name in ("rows.json", "first.png", "again.png", "r/scaling.md"))
    results.parent.mkdir()
    assert streaming.main(["--json", str(kept), "--picture", str(first), "--results", str(results)]) == 0
    assert streaming.main(["--redraw", str(kept), "--picture", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()
    text = results.read_text()
    # 64 MiB for 100 views of 64 x 64
    assert "](../first.png)" in text and f"{64 * 2**20 / (100 * 64**2):.1f}" in text and "from disk" in text


def test_overhead_is_that_over_one_device(monkeypatch, capsys):
    monkeypatch.setattr(devices, "in_process", lambda kind, n, chunks: devices.Cost(kind, n, 4.0 + n, 5.0, 0.1))
    assert devices.main(["--devices", "1", "8"]) == 0
    text = capsys.readouterr().out
    assert text.count("2.40") == 2 and "16 fits at once" in text
