"""What the library costs beside what people use today: ``python -m benchmarks`` runs the whole comparison."""
