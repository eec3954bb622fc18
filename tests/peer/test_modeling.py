"""transformers' own tests of models, run on ours."""

import unittest

import pytest
import torch

from modeling_mvfer import MVFERConfig, MVFERForFaceClassification, MVFERModel
from tests.conftest import TEXT, VISION
from tests.peer.mixins import load

common, configuration = load("test_modeling_common"), load("test_configuration_common")
pytestmark = pytest.mark.slow


class Tester:
    """Sizes and inputs of small models; `stem` says how pixels become tokens."""

    batch_size, num_hidden_layers, hidden_size, is_training = 4, 2, 16, True
    seq_length = 5  # patches and the class token
    image_size, patch_size = 16, 8
    num_attention_heads = 2
    fields: dict = {}

    def __init__(self, parent):
        self.parent = parent
        self.vision_config, self.text_config = dict(VISION), dict(TEXT)
        self.text_model_tester = self.vision_model_tester = self

    def get_config(self) -> MVFERConfig:
        sizes = {"projection_dim": 8, "projector_size": 12, "fusion_hidden_size": 6, "num_labels": 3}
        return MVFERConfig(text_config=dict(TEXT), vision_config=dict(VISION), **sizes | self.fields)

    def prepare_config_and_inputs_for_common(self):
        torch.manual_seed(0)
        ids = torch.randint(5, 40, (self.batch_size, 6))
        ids[:, 0], ids[:, -1] = 0, 1
        pixels = torch.randn(self.batch_size, 3, 16, 16)
        return self.get_config(), {"pixel_values": pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


class MVFERModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MVFERModel,)
    _is_composite = True
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = Tester(self)
        self.config_tester = configuration.ConfigTester(self, config_class=MVFERConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()


class MVFERForFaceClassificationTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MVFERForFaceClassification,)
    _is_composite = True
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = Tester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = {"pixel_values": inputs_dict["pixel_values"].clone()}
        return inputs | ({"labels": torch.zeros(4, dtype=torch.long)} if return_labels else {})
