"""The model, trainable and as reference for the C implementation.

    pixels -> stem (1/16) -> vision layers ------------------> fine features
    fine features -> 2x2 neighbours -> MLP (merger) ---------> image tokens
    image tokens and text -> decoder layers, each with self-attention,
    cross-modal attention to the fine features, and a gated MLP -> logits

There are two ways through the decoder.  `Model.forward` runs one plain
sequence with any number of images: the definition, used for fixtures and
generation.  `Model.memory` and `Model.rows` run many short rows of text that
share one image's prefix: the same arithmetic, arranged for training.

Parameters carry the names of model.safetensors.  While training, a convolution
has a batch norm inside it; `Model.fold` removes it.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

NEVER = -1e4   # added to the score of a key that a row must not see


def rotary_angles(position, n, base):
    """position (...) -> cosine and sine, each (..., n)"""
    angle = position[..., None].float() * base ** (-torch.arange(n, device=position.device) / n)
    return angle.cos(), angle.sin()


def rotate(x, cosine, sine):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)


def fourier(u, n, low, high):
    """u (...) in [0, 1] -> (..., 2n): n sines, then n cosines, of `low` to `high` cycles."""
    angle = u[..., None] * 2 * math.pi * torch.logspace(math.log10(low), math.log10(high), n, device=u.device)
    return torch.cat((angle.sin(), angle.cos()), -1)


class Conv(nn.Module):
    """Convolution and batch norm; one convolution with a bias once folded.

    `frozen` computes with the running statistics while training goes on, which
    is a sixth faster on a CPU and lets batches be small.
    """

    def __init__(self, i, o, size=1, stride=1, groups=1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, i // groups, size, size))
        self.bias, self.norm, self.frozen = None, nn.BatchNorm2d(o), False
        self.place = dict(stride=stride, padding=size // 2, groups=groups)
        self.point = size == 1
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def folded(self):
        if self.norm is None:
            return self.weight, self.bias
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        return self.weight * scale[:, None, None, None], self.norm.bias - self.norm.running_mean * scale

    def fold(self):
        weight, bias = self.folded()
        self.weight, self.bias, self.norm = nn.Parameter(weight.detach()), nn.Parameter(bias.detach()), None

    def convolve(self, x, weight, bias=None):
        if self.point:      # a product of matrices: a CPU trains it faster
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, bias, **self.place)

    def forward(self, x):
        if self.norm is None or self.frozen or not self.training:
            return self.convolve(x, *self.folded())
        return self.norm(self.convolve(x, self.weight))


class InvertedResidual(nn.Module):
    """MobileNetV2: 1x1 expand, 3x3 depthwise, 1x1 linear projection."""

    def __init__(self, i, o, expand, stride):
        super().__init__()
        m = i * expand
        self.expand, self.depthwise, self.project = Conv(i, m), Conv(m, m, 3, stride, m), Conv(m, o)
        self.residual = stride == 1 and i == o

    def forward(self, x):
        y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.residual else y


class Stem(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv, i, blocks = Conv(3, c.stem_channels, 3, 2), c.stem_channels, []
        for o, expand, stride in c.stem:
            blocks.append(InvertedResidual(i, o, expand, stride))
            i = o
        self.blocks, self.out = nn.ModuleList(blocks), nn.Conv2d(i, c.hidden_size, 1)
        self.spec = list(map(tuple, c.stem))
        self.last = max(k for k, (_, _, stride) in enumerate(self.spec) if stride > 1)     # from 1/8 to 1/16

    def forward(self, image):
        """(B, 3, H, W) -> cells (B, hidden, H/16, W/16) and, for training, features at 1/8"""
        x = F.relu6(self.conv(image))
        for k, block in enumerate(self.blocks):
            if k == self.last:
                middle = x
            x = block(x)
        return self.out(x), middle

    @torch.no_grad()
    def grown(self, state, prefix, old):
        """Tensors of the blocks of this stem, from those of the stem `old` (folded), which this one contains in its
        order."""
        out, at = {}, 0
        for k, block in enumerate(self.blocks):
            known = at < len(old) and self.spec[k] == old[at]
            if not known and not block.residual:
                raise ValueError(f"block {k} of the stem is new and not residual")
            for name, m in block.named_children():
                to, n = f"{prefix}blocks.{k}.{name}.", m.weight[0].numel()
                if known:
                    out.update({to + part: state[f"{prefix}blocks.{at}.{name}.{part}"] for part in ("weight", "bias")})
                else:
                    out[to + "weight"] = torch.randn_like(m.weight) * (.5 / n) ** .5 * (name != "project")
                    out[to + "bias"] = torch.zeros(len(m.weight))
            at += known
        if at < len(old):
            raise ValueError(f"block {at} of the old stem has no place in the new one")
        return out


class VisionLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c.hidden_size
        self.heads = c.num_attention_heads
        self.norm1, self.norm2 = nn.LayerNorm(d, c.layer_norm_eps), nn.LayerNorm(d, c.layer_norm_eps)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, c.intermediate_size), nn.Linear(c.intermediate_size, d)

    def forward(self, x, angles):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, *angles), rotate(k, *angles), v)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, d))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, self.stem = c, Stem(c)
        self.position = nn.Linear(4 * c.position_frequencies, c.hidden_size, bias=False)
        self.layers = nn.ModuleList(VisionLayer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, image):
        """(B, 3, H, W) -> fine features (B, cells, hidden), row by row; features at 1/8"""
        x, middle = self.stem(image)
        h, w = x.shape[-2:]
        row = torch.arange(h, device=x.device).repeat_interleave(w)
        column = torch.arange(w, device=x.device).repeat(h)
        n = self.c.hidden_size // self.c.num_attention_heads // 4      # angles per axis
        angles = [torch.cat(pair, -1) for pair in zip(rotary_angles(row, n, self.c.rope_theta),
                                                      rotary_angles(column, n, self.c.rope_theta))]
        wave = self.c.position_frequencies, self.c.position_min_cycles, self.c.position_max_cycles
        place = torch.cat((fourier((column + .5) / w, *wave), fourier((row + .5) / h, *wave)), -1)
        x = x.flatten(2).transpose(1, 2) + self.position(place)
        for layer in self.layers:
            x = layer(x, angles)
        return self.norm(x), middle


class Merger(nn.Module):
    """A block of merge x merge cells becomes one image token."""

    def __init__(self, c):
        super().__init__()
        self.size = c.vision_config.merge_size
        self.fc1 = nn.Linear(self.size ** 2 * c.vision_config.hidden_size, c.hidden_size)
        self.fc2 = nn.Linear(c.hidden_size, c.hidden_size)

    def forward(self, fine, h, w):
        """(B, h*w, d) -> (B, h*w/4, hidden), blocks row by row"""
        b, _, d = fine.shape
        m = self.size
        x = fine.view(b, h // m, m, w // m, m, d).permute(0, 1, 3, 2, 4, 5).reshape(b, h * w // m ** 2, m * m * d)
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Cross(nn.Module):
    """Cross-modal attention to the fine features, mixed in by `fusion`."""

    def __init__(self, c):
        super().__init__()
        d, inner, v = c.hidden_size, c.num_attention_heads * c.head_dim, c.vision_config.hidden_size
        self.heads, self.fusion = c.num_attention_heads, c.fusion
        self.norm, self.out_norm = nn.RMSNorm(d, c.rms_norm_eps), nn.LayerNorm(d)
        self.q_proj, self.o_proj = nn.Linear(d, inner, bias=False), nn.Linear(inner, d, bias=False)
        self.k_proj, self.v_proj = nn.Linear(v, inner, bias=False), nn.Linear(v, inner, bias=False)
        if c.fusion != "mean":
            self.route = nn.Linear(2 * d, 2 if c.fusion == "dynamic" else d)

    def keys(self, fine):
        """(B, cells, v) -> keys and values, each (B, heads, cells, dim)"""
        b, n, _ = fine.shape
        return [p(fine).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.k_proj, self.v_proj)]

    def forward(self, x, keys, mask=None, eyes=None):
        """x (B, n, d) -> what is added to x.  `eyes` is called with the first head's queries and keys."""
        b, n, _ = x.shape
        t = self.norm(x)
        q = self.q_proj(t).view(b, n, self.heads, -1).transpose(1, 2)
        if eyes:
            eyes(q[:, 0], keys[0][:, 0])
        image = self.o_proj(F.scaled_dot_product_attention(q, *keys, attn_mask=mask).transpose(1, 2).reshape(b, n, -1))
        if self.fusion == "mean":
            return self.out_norm((t + image) / 2)
        r = self.route(torch.cat((t, image), -1))
        if self.fusion == "concat":
            return self.out_norm(r)
        g = r.softmax(-1)
        return self.out_norm(g[..., :1] * t + g[..., 1:] * image)


class Layer(nn.Module):
    def __init__(self, c, cross):
        super().__init__()
        d, inner, kv = c.hidden_size, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.dim, self.group = c.head_dim, c.num_attention_heads // c.num_key_value_heads
        self.input_norm, self.post_norm = nn.RMSNorm(d, c.rms_norm_eps), nn.RMSNorm(d, c.rms_norm_eps)
        self.q_proj, self.o_proj = nn.Linear(d, inner, bias=False), nn.Linear(inner, d, bias=False)
        self.k_proj, self.v_proj = nn.Linear(d, kv, bias=False), nn.Linear(d, kv, bias=False)
        self.gate_proj, self.up_proj = (nn.Linear(d, c.intermediate_size, bias=False) for _ in "gu")
        self.down_proj = nn.Linear(c.intermediate_size, d, bias=False)
        self.cross = Cross(c) if cross else None

    def heads(self, x, angles):
        """x (B, n, d) -> q, k, v, each (B, heads, n, dim), keys and values repeated for their group"""
        b, n, _ = x.shape
        x = self.input_norm(x)
        q, k, v = (p(x).view(b, n, -1, self.dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        angles = [a[:, None] for a in angles]
        return (rotate(q, *angles), rotate(k, *angles).repeat_interleave(self.group, 1),
                v.repeat_interleave(self.group, 1))

    def join(self, x, y):
        """Adds the result of self-attention y (B, heads, n, dim)."""
        return x + self.o_proj(y.transpose(1, 2).flatten(2))

    def mlp(self, x):
        t = self.post_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(t)) * self.up_proj(t))


class Projection(nn.Module):
    """Image and text into one space, for embeddings."""

    def __init__(self, c):
        super().__init__()
        self.image = nn.Linear(c.vision_config.hidden_size, c.projection_dim, bias=False)
        self.text = nn.Linear(c.hidden_size, c.projection_dim, bias=False)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.vision, self.merger = Vision(c.vision_config), Merger(c)
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, c.has_cross(i)) for i in range(c.num_hidden_layers))
        self.norm, self.projection = nn.RMSNorm(c.hidden_size, c.rms_norm_eps), Projection(c)
        self.embed_scale = c.hidden_size ** .5      # 1 once folded
        self.reset()
        self.vision.stem.to(memory_format=torch.channels_last)

    def reset(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=.7 * m.in_features ** -.5)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        for layer in self.layers:
            layer.o_proj.weight.data *= .5
            layer.down_proj.weight.data *= .5
        nn.init.normal_(self.embed_tokens.weight, std=self.c.hidden_size ** -.5)

    def fold(self):
        """Into the form that is served: no batch norm, no scale on the embeddings."""
        for m in self.modules():
            if isinstance(m, Conv) and m.norm is not None:
                m.fold()
        self.embed_tokens.weight.data *= self.embed_scale
        self.norm.weight.data /= self.embed_scale
        self.embed_scale = 1
        return self.eval()

    def unfold(self, state, c):
        """Takes the weights of a folded model of configuration `c`, to train on: batch norms that change nothing.

        Where this model's stem has more blocks, those change nothing either: they start with nothing to add
        (Net2Net, https://arxiv.org/abs/1511.05641).
        """
        state, width = dict(state), self.c.hidden_size ** .5
        state.update(self.vision.stem.grown(state, "vision.stem.", list(map(tuple, c.vision_config.stem))))
        for name, m in self.named_modules():
            if isinstance(m, Conv):
                bias = state.pop(name + ".bias")
                state.update({f"{name}.norm.weight": torch.ones_like(bias), f"{name}.norm.bias": bias,
                              f"{name}.norm.running_mean": torch.zeros_like(bias),
                              f"{name}.norm.running_var": torch.ones_like(bias) - m.norm.eps,
                              f"{name}.norm.num_batches_tracked": torch.tensor(0)})
        state["embed_tokens.weight"] = state["embed_tokens.weight"] / width
        state["norm.weight"] = state["norm.weight"] * width
        self.load_state_dict(state)

    def see(self, image):
        """Pixels (B, 3, H, W) in [-1, 1] -> fine (B, cells, v), image tokens (B, cells/4, d), features at 1/8"""
        fine, middle = self.vision(image)
        return fine, self.merger(fine, image.shape[2] // 16, image.shape[3] // 16), middle

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)

    # -- one sequence: the definition -----------------------------------------------------------

    def forward(self, ids, images=()):
        """ids (n), images a list of pixels (3, H, W), one for each run of image tokens -> hidden (n, d).

        Every row sees the rows before it.  A text row also sees all fine cells
        of every image before it; other rows skip the cross-modal block.
        """
        x = self.embed_tokens(ids) * self.embed_scale
        is_image = ids == self.c.image_token_id
        start = torch.nonzero(is_image & ~F.pad(is_image, (1, 0))[:-1])[:, 0].tolist()
        if len(start) != len(images):
            raise ValueError(f"{len(images)} images for {len(start)} runs of image tokens")
        seen = [self.see(i[None]) for i in images]
        if seen:
            x = x.masked_scatter(is_image[:, None], torch.cat([s[1][0] for s in seen]))
            fine = torch.cat([s[0] for s in seen], 1)
            first = torch.cat([torch.full((s[0].shape[1],), at) for s, at in zip(seen, start)])
            look = torch.nonzero(~is_image & (torch.arange(len(ids)) > start[0]))[:, 0]
            mask = torch.where(first[None] < look[:, None], 0., -math.inf)[None, None]
        angles = [a[None] for a in rotary_angles(torch.arange(len(ids)), self.c.head_dim // 2, self.c.rope_theta)]
        x = x[None]
        for layer in self.layers:
            x = layer.join(x, F.scaled_dot_product_attention(*layer.heads(x, angles), is_causal=True))
            if layer.cross and seen and len(look):
                x = x.index_add(1, look, layer.cross(x[:, look], layer.cross.keys(fine), mask))
            x = layer.mlp(x)
        return self.norm(x)[0]

    @torch.no_grad()
    def generate(self, ids, images=(), limit=32):
        """Greedy continuation, without the end token.  No cache: for fixtures."""
        out = []
        while len(out) < limit:
            token = self.logits(self(torch.tensor(ids + out), images)[-1]).argmax().item()
            if token == self.c.eos_token_id:
                break
            out.append(token)
        return out

    # -- rows that share an image: training ------------------------------------------------------

    def memory(self, fine, tokens):
        """What the rows need of the image, per layer: (prefix keys, prefix values), cross keys and values."""
        b, n, _ = tokens.shape
        angles = [a.expand(b, -1, -1) for a in rotary_angles(torch.arange(n)[None], self.c.head_dim // 2,
                                                             self.c.rope_theta)]
        x, out = tokens, []
        for layer in self.layers:
            q, k, v = layer.heads(x, angles)
            out.append(((k, v), layer.cross.keys(fine) if layer.cross else None))
            if layer is not self.layers[-1]:
                x = layer.mlp(layer.join(x, F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return out

    def rows(self, ids, position, mask, memory=None, eyes=None, past=None):
        """ids, position (B, R, L), mask (B, R, L, T) added to the scores of the row's own keys -> hidden (B, R, L, d).

        `memory` of the image, or None for text alone.  `past`: a list, one (k, v)
        or None per layer, to which this call's keys are appended.
        """
        b, r, l = ids.shape
        before = memory[0][0][0].shape[-2] if memory else 0
        angles = [a.flatten(1, 2) for a in rotary_angles(position + before, self.c.head_dim // 2, self.c.rope_theta)]
        x = (self.embed_tokens(ids) * self.embed_scale).flatten(1, 2)
        for i, layer in enumerate(self.layers):
            q, k, v = layer.heads(x, angles)
            own_k, own_v = (t.unflatten(2, (r, l)) for t in (k, v))
            if past is not None:
                if past[i]:
                    own_k, own_v = torch.cat((past[i][0], own_k), -2), torch.cat((past[i][1], own_v), -2)
                past[i] = own_k, own_v
            scale = self.c.head_dim ** -.5
            score = (q * scale).unflatten(2, (r, l)) @ own_k.transpose(-1, -2) + mask[:, None]
            if memory:
                (pre_k, pre_v), cross_keys = memory[i]
                score = torch.cat((score.flatten(2, 3), (q * scale) @ pre_k.transpose(-1, -2)), -1).softmax(-1)
                t = own_k.shape[-2]
                y = (score[..., :t].unflatten(2, (r, l)) @ own_v).flatten(2, 3) + score[..., t:] @ pre_v
            else:
                y = (score.softmax(-1) @ own_v).flatten(2, 3)
            x = layer.join(x, y)
            if layer.cross and memory:
                x = x + layer.cross(x, cross_keys, eyes=eyes if i else None)
            x = layer.mlp(x)
        return self.norm(x).view(b, r, l, -1)

    @torch.no_grad()
    def answer(self, image, prompts, limit=32):
        """Greedy answers to several prompts about one image (1, 3, H, W) or None; prompts: lists of tokens after the
        image."""
        memory = None if image is None else self.memory(*self.see(image)[:2])
        r, l, end = len(prompts), max(map(len, prompts)), self.c.eos_token_id
        length = torch.tensor([len(p) for p in prompts])
        ids = torch.tensor([p + [0] * (l - len(p)) for p in prompts])[None]
        past, position = [None] * len(self.layers), torch.arange(l).expand(1, r, l)
        hidden = self.rows(ids, position, torch.full((l, l), NEVER).triu(1).expand(1, r, l, l), memory, None, past)
        hidden = hidden[0, torch.arange(r), length - 1]
        mask = torch.where(torch.arange(l) < length[:, None], 0., NEVER)[None, :, None]
        out, done = [], torch.zeros(r, dtype=torch.bool)
        for i in range(limit):
            token = self.logits(hidden).argmax(-1)
            out.append(token)
            done |= token == end
            if done.all():
                break
            mask = F.pad(mask, (0, 1))
            hidden = self.rows(token[None, :, None], (length + i)[None, :, None], mask, memory, None, past)[0, :, 0]
        return [o[:o.index(end)] if end in o else o for o in torch.stack(out, -1).tolist()]
