"""Speed and memory of the renderer (`python -m benchmarks.render.bench_render`)."""
