"""For mypy alone: the encoders of this folder follow the contract. Nothing imports this file."""

from avqa.extract.encoders import EncoderModule, clip_vit_b32, resnet18, vggish

CLIP: EncoderModule = clip_vit_b32
RESNET: EncoderModule = resnet18
VGGISH: EncoderModule = vggish
