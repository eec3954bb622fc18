import pytest
import torch

from modeling_mvfer.modeling_mvfer import MVFERModel
from modeling_mvfer.stem_mvfer import MatrixConvolution
from mvfer.training.presets import small_config


@pytest.mark.parametrize("stride", [1, 2])
def test_a_matrix_convolution_is_a_convolution(stride):
    torch.manual_seed(0)
    ours = MatrixConvolution(3, 5, stride=stride)
    theirs = torch.nn.Conv2d(3, 5, kernel_size=3, stride=stride, padding=1)
    with torch.no_grad():
        ours.weight.copy_(theirs.weight.flatten(1))
        ours.bias.copy_(theirs.bias)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours(images), theirs(images))


def test_the_stem_starts_with_the_variance_of_its_input_kept():
    torch.manual_seed(0)
    stages = MVFERModel(small_config()).vision_model.embeddings.patch_embedding.stages
    convolutions = [module for module in stages.modules() if isinstance(module, MatrixConvolution)]
    assert len(convolutions) == 7
    for convolution in convolutions:
        assert convolution.bias.eq(0).all()
        expected = (2 / convolution.weight.shape[1]) ** 0.5  # He et al. 2015: 2 / fan-in
        assert convolution.weight.std().item() == pytest.approx(expected, rel=0.15)
