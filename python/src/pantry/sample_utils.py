"""mlx_lm.sample_utils under its name."""

from .sampling import make_logits_processors, make_sampler

__all__ = ["make_logits_processors", "make_sampler"]
