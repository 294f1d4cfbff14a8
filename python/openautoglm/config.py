"""The sizes and switches of the model, as written in config.json."""
import dataclasses
import json


@dataclasses.dataclass
class VisionConfig:
    stem_channels: int = 16
    # inverted residual blocks: (output channels, expansion, stride)
    stem: tuple = ((32, 2, 2), (32, 3, 1), (64, 4, 2), (64, 4, 1), (64, 4, 1), (160, 4, 2))
    hidden_size: int = 160
    num_hidden_layers: int = 3
    num_attention_heads: int = 5
    intermediate_size: int = 480
    rope_theta: float = 100.0
    layer_norm_eps: float = 1e-5
    position_frequencies: int = 12     # of the cell's absolute position, per axis
    position_min_cycles: float = 0.5
    position_max_cycles: float = 64.0
    merge_size: int = 2                # cells per image token, along each axis


@dataclasses.dataclass
class Config:
    vocab_size: int = 0
    hidden_size: int = 192
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 512
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = True
    cross_attention: bool = True
    cross_attention_every: int = 1
    fusion: str = "dynamic"            # dynamic | concat | mean
    feature_norm: bool = True
    projection_dim: int = 512
    image_token_id: int = 4
    pad_token_id: int = 0
    eos_token_id: int = 1
    vision_config: VisionConfig = dataclasses.field(default_factory=VisionConfig)

    def has_cross(self, layer):
        return self.cross_attention and (layer + 1) % self.cross_attention_every == 0

    def to_dict(self):
        return {"architectures": ["OpenAutoGLMForConditionalGeneration"], "model_type": "open_autoglm",
                **dataclasses.asdict(self), "torch_dtype": "bfloat16"}

    @classmethod
    def from_dict(cls, d):
        def fields(c, d): return {f.name: d[f.name] for f in dataclasses.fields(c) if f.name in d}
        return cls(**{**fields(cls, d), "vision_config": VisionConfig(**fields(VisionConfig, d["vision_config"]))})

    @classmethod
    def load(cls, path):
        with open(path) as f:
            return cls.from_dict(json.load(f))
