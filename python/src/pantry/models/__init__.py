"""mlx_lm.models under its name: only `cache`."""
